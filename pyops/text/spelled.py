"""Numbers and dates in English and German words: a language of which there is as much text as one
likes, and in which every translation is right or wrong.

    spelled_number(2345, "en")    two thousand three hundred and forty-five
    spelled_number(2345, "de")    zweitausenddreihundertfünfundvierzig
    spelled_date(date(1984, 9, 23), "de")    der dreiundzwanzigste September neunzehnhundertvierundachtzig
"""
from __future__ import annotations

from datetime import date

__all__ = ["LANGUAGES", "spelled_date", "spelled_number"]

LANGUAGES = ("en", "de")
MOST = 999_999
UNITS = {"en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
               "sixteen seventeen eighteen nineteen".split(),
         "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
               "sechzehn siebzehn achtzehn neunzehn".split()}
TENS = {"en": "twenty thirty forty fifty sixty seventy eighty ninety".split(),
        "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()}
MONTHS = {"en": "January February March April May June July August September October November December".split(),
          "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()}
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
            "twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}


def spelled_number(number: int, language: str) -> str:
    """The cardinal in words. number: 0 to 999,999; language: "en" (British: hundred and) or "de".
    ValueError for others."""
    checked(language)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST:
        raise ValueError(f"spelled_number: number must be a whole number from 0 to {MOST}, got {number!r}")
    return english(number) if language == "en" else german(number)


def spelled_date(day: date, language: str) -> str:
    """The day of the calendar in words, in the nominative, its year as it is spoken. day: of the
    years 1100 to 2099; language: "en" or "de". ValueError for others."""
    checked(language)
    if not 1100 <= day.year <= 2099:
        raise ValueError(f"spelled_date: the year must be from 1100 to 2099, got {day.year}")
    month = MONTHS[language][day.month - 1]
    if language == "en":
        return f"the {english_ordinal(day.day)} of {month} {english_year(day.year)}"
    return f"der {german_ordinal(day.day)} {month} {german_year(day.year)}"


def checked(language: str) -> None:
    if language not in LANGUAGES:
        raise ValueError(f"language must be {' or '.join(LANGUAGES)}, got {language!r}")


def english(n: int) -> str:
    if n >= 1000:
        rest = n % 1000
        link = "" if not rest else f" {english(rest)}" if rest >= 100 else f" and {english(rest)}"
        return f"{english(n // 1000)} thousand{link}"
    if n >= 100:
        return f"{UNITS['en'][n // 100]} hundred" + (f" and {english(n % 100)}" if n % 100 else "")
    if n < 20:
        return UNITS["en"][n]
    return TENS["en"][n // 10 - 2] + (f"-{UNITS['en'][n % 10]}" if n % 10 else "")


def english_ordinal(n: int) -> str:
    """Of 1 to 31."""
    *before, last = english(n).split("-")
    return "-".join([*before, ORDINALS.get(last, f"{last}th")])


def english_year(year: int) -> str:
    """Nineteen hundred, nineteen oh five, nineteen eighty-four; two thousand and five, twenty ten."""
    if 2000 <= year < 2010:
        return english(year)
    rest = year % 100
    last = "hundred" if not rest else f"oh {english(rest)}" if rest < 10 else english(rest)
    return f"{english(year // 100)} {last}"


def german(n: int, end: str = "eins") -> str:
    """end: how a one at the end is spelled; "ein" where more of the word follows."""
    if n >= 1000:
        return f"{german(n // 1000, 'ein')}tausend{german(n % 1000, end) if n % 1000 else ''}"
    if n >= 100:
        return f"{german(n // 100, 'ein')}hundert{german(n % 100, end) if n % 100 else ''}"
    if n == 1:
        return end
    if n < 20:
        return UNITS["de"][n]
    return (f"{german(n % 10, 'ein')}und" if n % 10 else "") + TENS["de"][n // 10 - 2]


def german_ordinal(n: int) -> str:
    """Of 1 to 31, with the weak ending."""
    irregular = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
    return irregular[n] if n in irregular else german(n) + ("te" if n < 20 else "ste")


def german_year(year: int) -> str:
    """1100 to 1999 count in hundreds, from 2000 on in thousands."""
    if year >= 2000:
        return german(year)
    return f"{german(year // 100)}hundert{german(year % 100) if year % 100 else ''}"
