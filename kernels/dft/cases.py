"""Cases of the rows of pyops/ops/dft.py, and calls that they refuse. torch's functions give complex
numbers: tests/fuzz/against_torch.py compares with them."""
from ...core.cases import A, bad, case

OWN = {"torch": None}
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 31, 33, 37, 60, 64, 74, 97, 100, 128, 134)

CASES = {
    "dft": [
        *(case(f"complex_{n}", "dft", A(3, n, 2), **OWN) for n in LENGTHS),
        *(case(f"real_{n}", "dft", A(3, n, 1), onesided=True, **OWN) for n in LENGTHS),
        *(case(f"real_all_{n}", "dft", A(3, n, 1), **OWN) for n in (1, 7, 8, 74)),
        *(case(f"inverse_{n}", "dft", A(3, n, 2), inverse=True, **OWN) for n in (1, 7, 8, 37)),
        *(case(f"inverse_of_real_{n}", "dft", A(3, n, 1), inverse=True, **OWN) for n in (7, 8, 74)),
        *(case(f"inverse_onesided_{n}", "dft", A(3, n // 2 + 1, 2), n, inverse=True, onesided=True, **OWN) for n in (1, 7, 8, 37)),
        *(case(f"norm_{norm}", "dft", A(2, 12, 2), norm=norm, **OWN) for norm in ("ortho", "forward")),
        case("many_frames", "dft", A(2, 9, 25, 2), batch=True, **OWN),
        case("other_axis", "dft", A(2, 12, 5, 2), dim=1, **OWN), case("filled", "dft", A(2, 12, 2), 16, **OWN),
        case("cut", "dft", A(2, 12, 2), 10, **OWN), case("one_axis", "dft", A(20, 1), **OWN),
        case("no_signals", "dft", A(0, 8, 2), **OWN),
        *(case(f"stft_{n}_{hop}", "stft", A(2, 75), n, hop, **OWN) for n, hop in ((16, 4), (20, 7), (15, 15), (37, 3))),
        case("stft_window", "stft", A(2, 75), 16, 5, 12, A(12, values="positive"), **OWN),
        case("stft_whole_window", "stft", A(3, 200), 64, 16, window=A(64, values="positive"), normalized=True, batch=True, **OWN),
        case("stft_both_sides", "stft", A(75), 16, center=False, onesided=False, **OWN),
        case("stft_replicated", "stft", A(2, 40), 16, pad_mode="replicate", **OWN),
    ],
    "overlap_add": [
        *(case(f"istft_{n}_{hop}", "istft", A(2, n // 2 + 1, 6, 2), n, hop, **OWN) for n, hop in ((16, 4), (20, 7), (15, 5))),
        case("istft_window", "istft", A(2, 9, 6, 2), 16, 4, 12, A(12, values="positive"), normalized=True, tolerance=2048, **OWN),
        case("istft_length", "istft", A(9, 6, 2), 16, 4, length=21, **OWN),
        case("istft_longer", "istft", A(9, 6, 2), 16, 4, length=40, **OWN),
        case("istft_both_sides", "istft", A(1, 16, 6, 2), 16, 4, center=False, onesided=False, **OWN),
    ],
}
REFUSES = {
    "dft": [
        bad("parts", "dft", A(3, 8, 3), match="last axis holds"), bad("axis", "dft", A(3, 8, 2), dim=-1, match="must not be the last"),
        bad("onesided_complex", "dft", A(3, 8, 2), onesided=True, match="onesided takes real"),
        bad("length", "dft", A(3, 8, 2), 0, match="must be positive"), bad("norm", "dft", A(3, 8, 2), norm="sum", match="norm must be"),
        bad("hop", "stft", A(2, 75), 16, 0, match="hop_length positive"), bad("short", "stft", A(2, 10), 16, center=False, match="shorter than n_fft"),
        bad("window", "stft", A(2, 75), 16, window=A(15), match="a window of that"), bad("win_length", "stft", A(2, 75), 16, win_length=17, match="win_length within"),
        bad("signal", "stft", A(2, 2, 75), 16, match="input must be"), bad("values", "istft", A(2, 8, 6, 2), 16, match="input must be"),
        bad("no_weight", "istft", A(9, 3, 2), 16, 4, 4, center=False, match="without weight"),
    ],
}
