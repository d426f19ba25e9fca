"""The targets of LeNet-5's output units: each digit drawn on 7 x 12 pixels, ink +1 and paper -1.

LeCun et al. (1998) give every class such a picture, so that classes which look alike have codes
which are alike. The paper prints its pictures without their values; these are drawn anew.
"""
from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 12, 7

DRAWN = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...#...  .#####.  .#####.  ....##.  ######.  ...###.  #######  .#####.  .#####.
.##.##.  ..##...  ##...##  ##...##  ...###.  ##.....  ..##...  #######  ##...##  ##...##
##...##  .###...  ##...##  .....##  ...###.  ##.....  .##....  .....##  ##...##  ##...##
##...##  ...#...  .....##  .....##  ..#.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...#...  ....##.  ..####.  .##.##.  ######.  ######.  ....##.  .#####.  ##..###
##...##  ...#...  ...##..  ..####.  ##..##.  .....##  ###..##  ...##..  .#####.  .####.#
##...##  ...#...  ..##...  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...#...  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  ....##.
.##.##.  ...#...  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ...##..
..###..  .#####.  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .###...
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def digits(dtype=np.float32) -> np.ndarray:
    """The ten codes as rows of +1 and -1: (10, 84), digit 0 first, each picture row by row."""
    lines = [line.split() for line in DRAWN.strip().splitlines()]
    return np.array([[1 if pixel == "#" else -1 for line in lines for pixel in line[digit]]
                     for digit in range(10)],
                    dtype)
