"""Darknet's .cfg and .weights: every section beside OpenCV's reader and, where it is found, the
original Darknet; files that are wrong."""
import numpy as np
import pytest
from darknet_peer import darknet

from pyops.models.detection.darknet_cfg import Section, parse_cfg, write_cfg
from pyops.models.detection.darknet_layers import Reorg
from pyops.models.detection.darknet_network import DarknetNetwork
from pyops.models.detection.darknet_weights import load_weights, read_header, save_weights, stored

NET = "[net]\nwidth={0}\nheight={0}\nchannels=3\nbatch=1\nsubdivisions=1\n"


def conv(filters, size=3, stride=1, activation="leaky", more="batch_normalize=1\n"):
    return (f"[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n{more}"
            f"activation={activation}\n")


HEAD = conv(21, 1, 1, "linear", "")
YOLO = "[yolo]\nmask=0,1,2\nanchors=10,14, 23,27, 37,58\nclasses=2\nnum=3\nmax=90\n"
REGION = "[region]\nanchors=1,1.2, 2,3, 3,2\nclasses=2\nnum=3\nsoftmax=1\nthresh=.6\n"

# what both OpenCV and Darknet of 2018 run
BOTH = {
    "residual and spp": NET.format(33) + conv(8) + conv(16, 3, 2) + conv(8, 1) + conv(16) + """
[shortcut]
from=-3
activation=linear
[maxpool]
stride=1
size=5
[route]
layers=-2
[maxpool]
stride=1
size=9
[route]
layers=-1,-3,-4
""" + HEAD + YOLO,
    "odd sizes pooled": NET.format(27) + conv(8) + "[maxpool]\nsize=2\nstride=2\n" + conv(8) + """
[maxpool]
size=2
stride=1
""" + HEAD + YOLO,
    "upsampled": NET.format(32) + conv(8, 3, 2) + conv(8, 3, 2) + "[upsample]\nstride=2\n[route]\nlayers=-1,0\n"
    + HEAD + YOLO,
    "reorg": NET.format(32) + conv(16, 3, 2) + "[reorg]\nstride=2\n[route]\nlayers=-1\n" + HEAD + REGION,
    "groups of channels": NET.format(24) + conv(8) + conv(8, 3, 1, "leaky", "batch_normalize=1\ngroups=4\n")
    + HEAD + YOLO,
}
# what came into the format later, with the fork that trained YOLOv4
OPENCV = {
    "halves of channels, mish": NET.format(32) + conv(8, 3, 2, "mish") + """
[route]
layers=-1
groups=2
group_id=1
""" + conv(4, 3, 1, "swish") + "[route]\nlayers=-1,-2\n" + HEAD + YOLO,
    "activated sums": NET.format(16) + conv(8) + conv(8, 1, 1, "linear") + """
[shortcut]
from=-2
activation=relu
""" + HEAD + YOLO,
}
# what only Darknet runs
DARKNET = {
    "yolo v1": NET.format(28) + """
[crop]
crop_width=24
crop_height=24
""" + conv(8, 3, 2) + """
[maxpool]
size=2
stride=2
padding=0
[local]
size=3
stride=1
pad=1
filters=5
activation=leaky
[dropout]
probability=.5
[connected]
output=88
activation=linear
[detection]
classes=2
coords=4
rescore=1
side=2
num=4
softmax=0
sqrt=1
""",
    # Darknet's local layer counts its workspace in floats and allocates bytes: a convolution brings enough
    "local, unpadded": NET.format(12) + conv(8) + """
[local]
size=2
stride=2
filters=3
activation=relu
[avgpool]
[softmax]
""",
    "reverse reorg": NET.format(16) + conv(16, 3, 2) + "[reorg]\nstride=2\nreverse=1\n" + conv(4, 1),
    "classifier": NET.format(20) + conv(8, 3, 1, "ramp") + """
[avgpool]
[connected]
output=6
activation=relu
[softmax]
groups=2
temperature=2
[cost]
type=sse
""",
    "wider shortcuts": NET.format(16) + conv(4) + conv(8, 3, 2) + "[shortcut]\nfrom=-2\nactivation=relu\n" + conv(4, 1)
    + "[shortcut]\nfrom=-2\nactivation=linear\n" + conv(3, 1, 1, "elu"),
    "activations": NET.format(8) + "".join(conv(4, 1, 1, a) for a in ("relu", "tanh", "loggy", "hardtan", "relie",
                                                                      "elu", "logistic")),
}


def made(text, seed=0):
    """A network with random numbers everywhere, statistics among them."""
    rng = np.random.default_rng(seed)
    network = DarknetNetwork(parse_cfg(text)).eval()
    for _, layer, array in stored(network):
        norm = getattr(layer, "norm", None)
        if norm is not None and array is norm.running_var:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
        else:
            array[...] = rng.standard_normal(array.shape) * (0.3 if array.ndim == 1 else
                                                             array[0].size ** -0.5 if array.ndim > 1 else 1)
    images = rng.random((2, *network.input_shape), dtype=np.float32)
    return network, images


def written(network, text, folder):
    (folder / "net.cfg").write_text(text)
    save_weights(network, folder / "net.weights")
    return folder / "net.cfg", folder / "net.weights"


@pytest.mark.parametrize("name", [*BOTH, *OPENCV])
def test_opencv_gives_the_same_maps(name, tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("OpenCV 5 does not read Darknet's files")
    text = (BOTH | OPENCV)[name]
    network, images = made(text)
    peer = cv2.dnn.readNetFromDarknet(*map(str, written(network, text, tmp_path)))
    peer.setInput(images)
    number = len(network.layers) - 2   # OpenCV calls a layer by its number
    theirs = peer.forward(f"conv_{number}")
    (ours,) = network(images)
    assert theirs.shape == ours.shape and abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * abs(theirs).max())


@pytest.mark.parametrize("name", [*BOTH, *DARKNET])
def test_darknet_gives_the_same_results_layer_by_layer(name, tmp_path):
    text = (BOTH | DARKNET)[name]
    network, images = made(text)
    ours = {}
    for i, layer in enumerate(network.layers):
        layer.register_forward_hook(lambda _, inputs, result, i=i: ours.__setitem__(i, np.asarray(result)))
    network(images)
    theirs = darknet(tmp_path, *written(network, text, tmp_path), images)
    for i, section in enumerate(network.sections[1:]):
        if section.kind not in ("yolo", "region", "detection", "cost"):
            expected = theirs[f"output {i}"]
            np.testing.assert_allclose(ours[i].reshape(2, -1), expected, rtol=0, atol=1e-5 * abs(expected).max(),
                                       err_msg=f"layer {i}, {section.kind}")
    # and the weights as Darknet writes them
    assert (tmp_path / "saved.weights").read_bytes()[20:] == (tmp_path / "net.weights").read_bytes()[20:]
    other, _ = made(text, 1)
    load_weights(other, tmp_path / "saved.weights")
    assert all((a == b).all() for (*_, a), (*_, b) in zip(stored(other), stored(network)))


def test_a_batch_norm_by_itself(tmp_path):
    """By the formula: Darknet's own program crashes on one."""
    network, images = made(NET.format(8) + conv(4, more="") + "[batchnorm]\n")
    before = np.asarray(network.layers[0](images), np.float64)
    norm = network.layers[1].norm
    mean, scale = (np.asarray(a, np.float64)[:, None, None] for a in (
        norm.running_mean, norm.weight.data / np.sqrt(norm.running_var + 1e-6)))
    np.testing.assert_allclose(network(images)[0], (before - mean) * scale, rtol=1e-4, atol=1e-5)
    assert len(stored(network)) == 5   # a file holds no bias for it


def test_reorg_is_darknets_order():
    """Against the loop as Darknet's paper's program runs it, on memory."""
    c, h, w, s = 8, 4, 6, 2
    x = np.arange(c * h * w, dtype=np.float32)
    expected = np.empty_like(x)
    for k in range(c):
        for j in range(h):
            for i in range(w):
                off, c2 = divmod(k, c // s ** 2)
                there = (i * s + off % s) + w * s * ((j * s + off // s) + h * s * c2)
                expected[i + w * (j + h * k)] = x[there]
    layer = Reorg(Section("reorg", {"stride": "2"}), (c, h, w))
    ours = layer(x.reshape(1, c, h, w))
    assert ours.shape == (1, *layer.shape) and (ours.ravel() == expected).all()


def test_a_cfg_is_written_as_it_was_read():
    text = BOTH["residual and spp"]
    sections = parse_cfg("# a comment\n" + text.replace("size=3", " size = 3   # taps"))
    again = parse_cfg(write_cfg(sections))
    assert [(s.kind, s.options) for s in again] == [(s.kind, s.options) for s in parse_cfg(text)]


@pytest.mark.parametrize(("version", "size"), [((0, 1, 0), 16), ((0, 2, 0), 20), ((0, 2, 5), 20), ((1, 0, 0), 20)])
def test_weights_of_every_version_are_read_back(version, size, tmp_path):
    text = DARKNET["classifier"]
    network, _ = made(text)
    save_weights(network, tmp_path / "a.weights", seen=32_013_312, version=version)
    other, _ = made(text, 1)
    header = load_weights(other, tmp_path / "a.weights")
    assert header == (version, 32_013_312, size)
    assert all((a == b).all() for (*_, a), (*_, b) in zip(stored(other), stored(network)))


def test_linear_weights_of_old_files_are_turned(tmp_path):
    network, _ = made(DARKNET["classifier"])
    save_weights(network, tmp_path / "a.weights", version=(0, 1, 0))
    data = bytearray((tmp_path / "a.weights").read_bytes())
    linear = network.layers[2].linear.weight.data
    data[4:8] = np.array([1001], "<i4").tobytes()
    data[-linear.nbytes:] = np.ascontiguousarray(linear.T).tobytes()
    (tmp_path / "b.weights").write_bytes(data)
    other, _ = made(DARKNET["classifier"], 1)
    assert load_weights(other, tmp_path / "b.weights").transposed
    assert (other.layers[2].linear.weight.data == linear).all()


def test_a_trunk_is_read_by_itself(tmp_path):
    network, _ = made(BOTH["upsampled"])
    other, _ = made(BOTH["upsampled"], 1)
    before = other.layers[4].conv.weight.data.copy()
    save_weights(network, tmp_path / "trunk.conv.2", layers=2)
    load_weights(other, tmp_path / "trunk.conv.2", layers=2)
    assert (other.layers[1].conv.weight.data == network.layers[1].conv.weight.data).all()
    assert (other.layers[4].conv.weight.data == before).all()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    network, _ = made(BOTH["upsampled"])
    path = tmp_path / "a.weights"
    save_weights(network, path)
    data = path.read_bytes()
    before = [array.copy() for *_, array in stored(network)]
    for wrong, says in ((data[:-4], r"too short, it ends in layer 4 \(convolutional\)"), (data + b"1234", "too long"),
                        (data[:-1], "too short"), (data[:8], "too few for the header"),
                        (b"PK\x03\x04" + data[4:], "no .weights file"), (data[:20], "ends in layer 0"),
                        (data[:20] + data[:19:-1][:len(data) - 20], "variance")):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=says):
            load_weights(network, path)
    assert all((a == b).all() for a, (*_, b) in zip(before, stored(network)))
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_weights(network, tmp_path / "b.weights")
    with pytest.raises(ValueError, match="seen"):
        save_weights(network, path, seen=2 ** 31, version=(0, 1, 0))
    with pytest.raises(ValueError, match="too few"):
        read_header(b"", "nothing")


@pytest.mark.parametrize(("text", "says"), [
    ("", "no section"), ("[net]\nwidth=8\nheight=8\n", "no layer"), ("[convolutional]\n", "begins with"),
    ("width=8\n[net]\n", "before the first"), ("[net]\nwidth\n", "line 2: neither"), ("[net\n", "line 1: a section's"),
    ("[net]\nheight=4\n[dropout]\n", "height and width"), (NET.format("x") + "[dropout]\n", "whole number, got 'x'"),
    (NET.format(8) + "[lstm]\n", r"line 7: \[lstm\] is no section"),
    (NET.format(8) + conv(4) + "[route]\nlayers=-2\n", "layers=-2 is no earlier layer; this is layer 1"),
    (NET.format(8) + conv(4) + "[route]\nlayers=1\n", "no earlier layer"),
    (NET.format(8) + conv(4) + "[route]\n", "needs layers"), (NET.format(8) + "[route]\nlayers=-1\n", "no earlier"),
    (NET.format(8) + conv(4) + conv(4, 3, 2) + "[route]\nlayers=-1,-2\n", "different sizes: 4x4, 8x8"),
    (NET.format(8) + conv(4) + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", "group_id=2"),
    (NET.format(8) + conv(4) + conv(4, 3, 2) + conv(4) + "[upsample]\n[upsample]\n[shortcut]\nfrom=-3\n",
     "cannot be added to 16x16"),
    (NET.format(8) + conv(0), "filters must be between 1"), (NET.format(8) + conv(4, 3, 0), "stride"),
    (NET.format(8) + conv(4, activation="plse"), "activation must be one of"),
    (NET.format(8) + conv(4, more="groups=3\n"), "divide into groups=3"),
    (NET.format(8) + conv(4, more="xnor=1\n"), "xnor is not supported"),
    (NET.format(2) + "[maxpool]\nsize=4\nstride=2\npadding=0\n", "leaves nothing of maps of 2x2"),
    (NET.format(9) + "[reorg]\nstride=2\n", "does not divide"), (NET.format(8) + "[crop]\ncrop_width=9\n", "larger"),
    (NET.format(8) + "[dropout]\nprobability=2\n", "probability"),
    (NET.format(8) + "[softmax]\ngroups=5\n", "groups=5"),
    (NET.format(8) + "[softmax]\ntemperature=nan\n", "finite"), (NET.format(10 ** 9) + "[dropout]\n", "between"),
    (NET.format(8) + "[maxpool]\nsize=2\npadding=9\n", "padding=9"),
    (NET.format(8) + conv(2 ** 24) + conv(2 ** 24), "more than"),
    (NET.format(64) + "[connected]\noutput=9999999\n", "more than"),
    (NET.format(900) + "[local]\nsize=3\npad=1\nfilters=500\n", "more than"),
])
def test_a_cfg_that_is_wrong_is_refused_in_a_sentence(text, says):
    with pytest.raises(ValueError, match=says) as found:
        DarknetNetwork(parse_cfg(text))
    assert "\n" not in str(found.value)
