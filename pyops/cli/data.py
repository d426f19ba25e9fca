"""pyops data check|scenes: what a set of annotated images holds and what is wrong with it; digit
scenes as files."""
from __future__ import annotations

from pathlib import Path

from . import UsageError
from .train import needs, positive

FORMS = ("coco", "voc", "yolo", "csv")


def add_arguments(parser):
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="count images, objects and classes, and list what is wrong")
    check.add_argument("path", type=Path, help="a .json of COCO, a .csv, or a folder of Pascal VOC or YOLO")
    check.add_argument("--format", choices=FORMS, help="default: found by what is there")
    check.add_argument("--images", type=Path, metavar="DIR", help="where the images are (coco, voc, csv)")
    check.add_argument("--split", help="of VOC: only the images in ImageSets/Main/SPLIT.txt")
    check.add_argument("--fast", action="store_true", help="do not decode the images")
    scenes = actions.add_parser("scenes", help="write scenes of handwritten digits with COCO's annotations")
    scenes.add_argument("out", type=Path, metavar="DIR")
    scenes.add_argument("--count", type=positive(int), default=200, help="scenes to train on (default: 200); a quarter "
                        "as many to test")
    scenes.add_argument("--seed", type=int, default=0)


def run(args) -> int:
    return check(args) if args.action == "check" else scenes(args)


def check(args) -> int:
    """1 where there are problems."""
    needs("PIL")
    from ..train.detection.annotations import checked_files
    from ..train.detection.readers import guess_format, read
    try:
        form = args.format or guess_format(args.path)
        settings = {"images": args.images, "split": args.split}
        given = {key: value for key, value in settings.items() if value is not None}
        taken = {"coco": {"images"}, "voc": {"images", "split"}, "yolo": set(), "csv": {"images"}}[form]
        if unknown := given.keys() - taken:
            raise ValueError(f"{form} takes no --{', --'.join(sorted(unknown))}")
        found = read(args.path, form, strict=False, **given)
        found = found if args.fast else checked_files(found)
    except (OSError, ValueError) as why:
        raise UsageError(why) from why
    print(found.report())
    return int(bool(found.problems))


def scenes(args) -> int:
    needs("PIL", "sklearn")
    from ..train.detection.scenes import Scenes, write_coco
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    for part, count in (("train", args.count), ("test", max(1, args.count // 4))):
        try:
            print(f"wrote {write_coco(Scenes(count, part, args.seed), args.out)}: {count} scenes")
        except OSError as why:
            raise UsageError(why) from why
    return 0
