"""Numbers and dates in words: known ones, and rules that all of them must keep."""
from datetime import date

import pytest

from pyops.text import spelled_date, spelled_number

NUMBERS = {   # as Duden and the Oxford guides write them
    0: ("zero", "null"), 1: ("one", "eins"), 12: ("twelve", "zwölf"), 16: ("sixteen", "sechzehn"),
    17: ("seventeen", "siebzehn"), 21: ("twenty-one", "einundzwanzig"), 30: ("thirty", "dreißig"),
    66: ("sixty-six", "sechsundsechzig"), 77: ("seventy-seven", "siebenundsiebzig"), 100: ("one hundred", "einhundert"),
    101: ("one hundred and one", "einhunderteins"), 999: ("nine hundred and ninety-nine", "neunhundertneunundneunzig"),
    1000: ("one thousand", "eintausend"), 1001: ("one thousand and one", "eintausendeins"),
    1100: ("one thousand one hundred", "eintausendeinhundert"),
    21_000: ("twenty-one thousand", "einundzwanzigtausend"),
    101_000: ("one hundred and one thousand", "einhunderteintausend"),
    345_678: ("three hundred and forty-five thousand six hundred and seventy-eight",
              "dreihundertfünfundvierzigtausendsechshundertachtundsiebzig")}
DATES = {
    date(1984, 9, 23): ("the twenty-third of September nineteen eighty-four",
                        "der dreiundzwanzigste September neunzehnhundertvierundachtzig"),
    date(1900, 1, 1): ("the first of January nineteen hundred", "der erste Januar neunzehnhundert"),
    date(1905, 3, 3): ("the third of March nineteen oh five", "der dritte März neunzehnhundertfünf"),
    date(2000, 7, 7): ("the seventh of July two thousand", "der siebte Juli zweitausend"),
    date(2001, 8, 8): ("the eighth of August two thousand and one", "der achte August zweitausendeins"),
    date(2024, 12, 12): ("the twelfth of December twenty twenty-four",
                         "der zwölfte Dezember zweitausendvierundzwanzig"),
    date(1116, 2, 20): ("the twentieth of February eleven sixteen", "der zwanzigste Februar elfhundertsechzehn"),
    date(1999, 5, 31): ("the thirty-first of May nineteen ninety-nine",
                        "der einunddreißigste Mai neunzehnhundertneunundneunzig")}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number):
    assert (spelled_number(number, "en"), spelled_number(number, "de")) == NUMBERS[number]


@pytest.mark.parametrize("day", DATES, ids=str)
def test_dates(day):
    assert (spelled_date(day, "en"), spelled_date(day, "de")) == DATES[day]




@pytest.mark.parametrize("language", ["en", "de"])
def test_words_are_read_back(language):
    """By a reader that knows the words below a hundred only from the table of these, and place values
    from the words for them."""
    small = {spelled_number(n, language): n for n in range(1, 100)}
    if language == "de":
        small["ein"] = 1
    thousand, hundred = ("thousand", "hundred") if language == "en" else ("tausend", "hundert")

    def below(text):
        head, mark, rest = text.partition(hundred)
        rest = rest.strip().removeprefix("and ")
        return (small[head.strip()] * 100 if mark else 0) + (
            small[rest] if rest else 0) if mark else small[text.strip().removeprefix("and ")] if text.strip() else 0
    for n in [*range(1, 2200), *range(2200, 10 ** 6, 977)]:
        head, mark, rest = spelled_number(n, language).partition(thousand)
        assert (below(head) * 1000 + below(rest) if mark else below(head)) == n


def test_refusals():
    for bad in (-1, 10 ** 6, 1.0, True):
        with pytest.raises(ValueError, match="0 to 999999"):
            spelled_number(bad, "en")
    with pytest.raises(ValueError, match="en or de, got 'fr'"):
        spelled_number(1, "fr")
    with pytest.raises(ValueError, match="1100 to 2099, got 1099"):
        spelled_date(date(1099, 1, 1), "de")
