"""Inflection: complete paradigms, and irregular words."""

import pytest

from seqx_sample import english, german
from seqx_sample.words import Case, Gender

from .vocabulary import WORDS, adjective, noun, verb

CASES: tuple[Case, ...] = ("nominative", "accusative", "dative", "genitive")
COLUMNS: tuple[tuple[Gender, bool], ...] = (("m", False), ("f", False), ("n", False), ("m", True))

# As printed in grammars of German: a row for each case; masculine, feminine, neuter, plural.
ADJECTIVES: dict[german.Declension, str] = {
    "strong": """
        guter gute gutes gute
        guten gute gutes gute
        gutem guter gutem guten
        guten guter guten guter""",
    "weak": """
        gute gute gute guten
        guten gute gute guten
        guten guten guten guten
        guten guten guten guten""",
    "mixed": """
        guter gute gutes guten
        guten gute gutes guten
        guten guten guten guten
        guten guten guten guten""",
}
ARTICLES = {
    "der": "der die das die den die das die dem der dem den des der des der",
    "dies": "dieser diese dieses diese diesen diese dieses diese "
    "diesem dieser diesem diesen dieses dieser dieses dieser",
    "kein": "kein keine kein keine keinen keine kein keine "
    "keinem keiner keinem keinen keines keiner keines keiner",
    "relative": "der die das die den die das die dem der dem denen dessen deren dessen deren",
}


@pytest.mark.parametrize("declension", ADJECTIVES)
def test_german_adjective_endings(declension: german.Declension) -> None:
    table = [
        "gut" + german.adjective_ending(declension, case, gender, plural=plural)
        for case in CASES
        for gender, plural in COLUMNS
    ]
    assert table == ADJECTIVES[declension].split()


@pytest.mark.parametrize("kind", ARTICLES)
def test_german_articles(kind: str) -> None:
    def form(case: Case, gender: Gender, plural: bool) -> str:
        if kind == "der":
            return german.definite(case, gender, plural=plural)
        if kind == "relative":
            return german.relative(case, gender, plural=plural)
        return german.determiner(kind, case, gender, plural=plural)

    assert [form(case, *column) for case in CASES for column in COLUMNS] == ARTICLES[kind].split()


# Nominative, accusative, dative and genitive singular; nominative and dative plural.
NOUNS = {
    "man": "Mann Mann Mann Mannes Männer Männern",
    "boy": "Junge Jungen Jungen Jungen Jungen Jungen",
    "student": "Student Studenten Studenten Studenten Studenten Studenten",
    "neighbor": "Nachbar Nachbarn Nachbarn Nachbarn Nachbarn Nachbarn",
    "boss": "Chef Chef Chef Chefs Chefs Chefs",
    "woman": "Frau Frau Frau Frau Frauen Frauen",
    "teacher": "Lehrer Lehrer Lehrer Lehrers Lehrer Lehrern",
    "fox": "Fuchs Fuchs Fuchs Fuchses Füchse Füchsen",
    "house": "Haus Haus Haus Hauses Häuser Häusern",
    "secret": "Geheimnis Geheimnis Geheimnis Geheimnisses Geheimnisse Geheimnissen",
    "car": "Auto Auto Auto Autos Autos Autos",
    "museum": "Museum Museum Museum Museums Museen Museen",
}


@pytest.mark.parametrize("word", NOUNS)
def test_german_nouns(word: str) -> None:
    forms = [german.noun(noun(word), case, plural=False) for case in CASES]
    forms += [german.noun(noun(word), case, plural=True) for case in ("nominative", "dative")]
    assert forms == NOUNS[word].split()


# ich, du, er, wir of the present; ich, du, wir of the past; participle; infinitive with "zu"; imperative.
VERBS = {
    "eat": "esse isst isst essen aß aßest aßen gegessen zu|essen iss",
    "read": "lese liest liest lesen las lasest lasen gelesen zu|lesen lies",
    "take along": "nehme nimmst nimmt nehmen nahm nahmst nahmen mitgenommen mitzunehmen nimm",
    "invite": "lade lädst lädt laden lud ludest luden eingeladen einzuladen lade",
    "sleep": "schlafe schläfst schläft schlafen schlief schliefst schliefen geschlafen zu|schlafen schlaf",
    "wash": "wasche wäschst wäscht waschen wusch wuschst wuschen gewaschen zu|waschen wasch",
    "work": "arbeite arbeitest arbeitet arbeiten arbeitete arbeitetest arbeiteten gearbeitet "
    "zu|arbeiten arbeite",
    "open": "öffne öffnest öffnet öffnen öffnete öffnetest öffneten geöffnet zu|öffnen öffne",
    "smile": "lächle lächelst lächelt lächeln lächelte lächeltest lächelten gelächelt zu|lächeln lächle",
    "feed": "füttere fütterst füttert füttern fütterte füttertest fütterten gefüttert zu|füttern füttere",
    "travel": "reise reist reist reisen reiste reistest reisten gereist zu|reisen reis",
    "repair": "repariere reparierst repariert reparieren reparierte repariertest reparierten repariert "
    "zu|reparieren reparier",
    "visit": "besuche besuchst besucht besuchen besuchte besuchtest besuchten besucht zu|besuchen besuch",
    "bark": "belle bellst bellt bellen bellte belltest bellten gebellt zu|bellen bell",
    "prepare": "bereite bereitest bereitet bereiten bereitete bereitetest bereiteten vorbereitet "
    "vorzubereiten bereite",
    "bring": "bringe bringst bringt bringen brachte brachtest brachten gebracht zu|bringen bring",
    "have": "habe hast hat haben hatte hattest hatten gehabt zu|haben hab",
    "like": "mag magst mag mögen mochte mochtest mochten gemocht zu|mögen mög",
    "recommend": "empfehle empfiehlst empfiehlt empfehlen empfahl empfahlst empfahlen empfohlen "
    "zu|empfehlen empfiehl",
    "draw": "zeichne zeichnest zeichnet zeichnen zeichnete zeichnetest zeichneten gezeichnet "
    "zu|zeichnen zeichne",
    "forget": "vergesse vergisst vergisst vergessen vergaß vergaßest vergaßen vergessen zu|vergessen vergiss",
    "lose": "verliere verlierst verliert verlieren verlor verlorst verloren verloren zu|verlieren verlier",
    "find": "finde findest findet finden fand fandest fanden gefunden zu|finden finde",
}


@pytest.mark.parametrize("word", VERBS)
def test_german_verbs(word: str) -> None:
    each = verb(*word.split())
    forms = [german.finite(each, "present", person, plural=False) for person in (1, 2, 3)]
    forms.append(german.finite(each, "present", 1, plural=True))
    forms += [german.finite(each, "past", person, plural=False) for person in (1, 2)]
    forms.append(german.finite(each, "past", 3, plural=True))
    forms += [german.participle(each), german.infinitive(each, zu=True), german.imperative(each)]
    assert forms == [form.replace("|", " ") for form in VERBS[word].split()]


def test_german_adjectives_have_three_degrees() -> None:
    expected = {
        "big": "groß größer größt",
        "good": "gut besser best",
        "expensive": "teuer teurer teuerst",
        "dark": "dunkel dunkler dunkelst",
        "tired": "müde müder müdest",
        "interesting": "interessant interessanter interessantest",
        "exciting": "spannend spannender spannendst",
        "empty": "leer leerer leerst",
    }
    assert {word: " ".join(adjective(word).german) for word in expected} == expected
    stems = {"teuer": "teur", "dunkel": "dunkl", "müde": "müd", "leer": "leer", "sauber": "sauber"}
    assert {form: german.attributive(form) for form in stems} == stems


def test_english_verbs() -> None:
    expected = {
        "carry": "carries carrying carried carried",
        "watch": "watches watching watched watched",
        "go": "goes going went gone",
        "lie": "lies lying lay lain",
        "swim": "swims swimming swam swum",
        "forget": "forgets forgetting forgot forgotten",
        "repair": "repairs repairing repaired repaired",
        "open": "opens opening opened opened",
        "see": "sees seeing saw seen",
        "write": "writes writing wrote written",
        "play": "plays playing played played",
        "pay": "pays paying paid paid",
        "have": "has having had had",
    }
    for word, forms in expected.items():
        each = verb(word)
        found = [english.third(word), english.gerund(word), each.english_past, each.english_participle]
        assert found == forms.split()


def test_english_nouns_and_adjectives() -> None:
    plurals = {"box": "boxes", "church": "churches", "city": "cities", "key": "keys", "potato": "potatoes"}
    plurals |= {"radio": "radios", "piano": "pianos", "photo": "photos", "child": "children", "mouse": "mice"}
    assert {word: noun(word).english_plural for word in plurals} == plurals
    degrees = {"big": "bigger", "red": "redder", "happy": "happier", "quiet": "quieter", "clever": "cleverer"}
    degrees |= {"slow": "slower", "tired": "more tired", "beautiful": "more beautiful", "good": "better"}
    assert {word: adjective(word).english[1] for word in degrees} == degrees
    articles = {"apple": "an", "house": "a", "old": "an", "honest": "an", "uncle": "an", "university": "a"}
    assert {word: english.article(word) for word in articles} == articles


def test_lexicon_has_no_repeated_word() -> None:
    for words in (WORDS.nouns + WORDS.names, WORDS.adjectives, WORDS.verbs, WORDS.adverbials):
        assert len({each.lemma for each in words}) == len(words)
    assert len({each.german for each in WORDS.nouns}) == len(WORDS.nouns)
    assert len({each.german for each in WORDS.adjectives}) == len(WORDS.adjectives)
    assert len({each.prefix + each.german for each in WORDS.verbs}) == len(WORDS.verbs)
    assert {each.gender for each in WORDS.nouns} == {"m", "f", "n"}
