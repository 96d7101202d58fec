"""Hand-checked sentence pairs for each phenomenon of the grammar."""

import nltk
import pytest

from seqx_sample.clauses import Clause, Saying, WithRelativeClause
from seqx_sample.phrases import (
    Common,
    CoordinatedNounPhrase,
    Interrogative,
    Owned,
    Placed,
    PrepositionalPhrase,
    RelativePronoun,
    WhichOne,
)
from seqx_sample.predicates import (
    Being,
    BeingOne,
    Compared,
    Dative,
    Ditransitive,
    Intransitive,
    Passive,
    Prepositional,
    Putting,
    Transitive,
    Trying,
)
from seqx_sample.sentences import (
    AdverbQuestion,
    Chained,
    Existence,
    Fronted,
    Imperative,
    Joined,
    Preposed,
    Sentence,
    Statement,
    Subordinated,
    WhQuestion,
    YesNo,
)

from .vocabulary import (
    HE,
    SHE,
    THEY,
    WE,
    YOU,
    I,
    adjective,
    adverb,
    both,
    does,
    it,
    name,
    noun,
    np,
    preposition,
    to,
    verb,
)

IN = preposition("in", "in")
INTO = preposition("into", "in", "accusative")
ON = preposition("on", "auf")
ONTO = preposition("on", "auf", "accusative")
AT = preposition("at", "an")
TO = preposition("to", "zu")
WITH = preposition("with", "mit")
FOR = preposition("for", "auf", "accusative")
GET_UP = Intransitive(verb("get", "up"))
SLEEP = Intransitive(verb("sleep"))
DOG = np("the dog")


def garden(before: str = "in") -> PrepositionalPhrase:
    return PrepositionalPhrase(
        preposition(before, {"in": "in", "behind": "hinter"}[before]), np("the garden")
    )


def relative(phrase: Common) -> RelativePronoun:
    return RelativePronoun(phrase.gender, phrase.plural, "person" in phrase.noun.classes)


def who_sleeps(phrase: Common) -> WithRelativeClause:
    return WithRelativeClause(phrase, Clause(relative(phrase), SLEEP, "present"))


MAN, BOOK, WOMAN = np("the man"), np("the book"), np("the woman")

PAIRS: list[tuple[str, Sentence, str, str]] = [
    (
        "present, article",
        Statement(Clause(DOG, does("eat", "the meat"), "present")),
        "The dog eats the meat.",
        "Der Hund isst das Fleisch.",
    ),
    (
        "accusative, strong past",
        Statement(Clause(np("a woman"), does("find", "a big apple"), "past")),
        "A woman found a big apple.",
        "Eine Frau fand einen großen Apfel.",
    ),
    (
        "weak adjectives, plural",
        Statement(Clause(np("the old teachers"), does("read", "this interesting books"), "future")),
        "The old teachers will read these interesting books.",
        "Die alten Lehrer werden diese interessanten Bücher lesen.",
    ),
    (
        "strong adjective, mass",
        Statement(Clause(SHE, does("drink", "bare cold milk"), "progressive")),
        "She is drinking cold milk.",
        "Sie trinkt kalte Milch.",
    ),
    (
        "dative verb, weak noun",
        Statement(Clause(I, Dative(verb("help"), np("the old farmer")), "present")),
        "I help the old farmer.",
        "Ich helfe dem alten Bauern.",
    ),
    (
        "dative plural",
        Statement(Clause(HE, Dative(verb("answer"), np("his small children")), "past")),
        "He answered his small children.",
        "Er antwortete seinen kleinen Kindern.",
    ),
    (
        "indirect object",
        Statement(Clause(WE, Ditransitive(verb("give"), np("the child"), np("a ball")), "past")),
        "We gave the child a ball.",
        "Wir gaben dem Kind einen Ball.",
    ),
    (
        "dative before accusative pronoun",
        Statement(Clause(WE, Ditransitive(verb("give"), np("the child"), it("er")), "past")),
        "We gave it to the child.",
        "Wir gaben ihn dem Kind.",
    ),
    (
        "perfect with haben",
        Statement(Clause(THEY, does("buy", "three books"), "perfect")),
        "They have bought three books.",
        "Sie haben drei Bücher gekauft.",
    ),
    (
        "perfect with sein",
        Statement(Clause(name("Anna"), to("go", TO, "the station"), "perfect")),
        "Anna has gone to the station.",
        "Anna ist zum Bahnhof gegangen.",
    ),
    (
        "separable, present",
        Statement(Clause(np("my brother"), GET_UP, "present", time=adverb("heute"))),
        "My brother gets up today.",
        "Mein Bruder steht heute auf.",
    ),
    (
        "separable, perfect",
        Statement(Clause(np("my sister"), GET_UP, "perfect")),
        "My sister has gotten up.",
        "Meine Schwester ist aufgestanden.",
    ),
    ("separable, modal", Statement(Clause(YOU, GET_UP, "must")), "You must get up.", "Du musst aufstehen."),
    (
        "separable, subordinate",
        Subordinated(
            Clause(I, SLEEP, "present"), "because", Clause(HE, does("turn", "the lamp", "off"), "present")
        ),
        "I sleep because he turns off the lamp.",
        "Ich schlafe, weil er die Lampe ausschaltet.",
    ),
    (
        "separable, infinitive",
        Statement(Clause(SHE, Trying(verb("forget"), does("turn", "the lamp", "off")), "past")),
        "She forgot to turn off the lamp.",
        "Sie vergaß, die Lampe auszuschalten.",
    ),
    (
        "particle behind a pronoun",
        Statement(Clause(SHE, Transitive(verb("turn", "off"), it("sie")), "past")),
        "She turned it off.",
        "Sie schaltete sie aus.",
    ),
    (
        "modal",
        Statement(Clause(np("the boy"), does("repair", "his bicycle"), "want")),
        "The boy wants to repair his bicycle.",
        "Der Junge will sein Fahrrad reparieren.",
    ),
    (
        "past modal",
        Statement(Clause(np("the girls"), SLEEP, "had to")),
        "The girls had to sleep.",
        "Die Mädchen mussten schlafen.",
    ),
    (
        "future",
        Statement(Clause(THEY, to("travel", TO, "the island"), "future")),
        "They will travel to the island.",
        "Sie werden zur Insel reisen.",
    ),
    (
        "fronted time, inversion",
        Fronted(adverb("gestern"), Clause(np("the queen"), does("sing", "a song"), "past")),
        "Yesterday the queen sang a song.",
        "Gestern sang die Königin ein Lied.",
    ),
    (
        "fronted place, perfect",
        Fronted(garden(), Clause(np("the birds"), Intransitive(verb("sing")), "perfect")),
        "In the garden the birds have sung.",
        "Im Garten haben die Vögel gesungen.",
    ),
    (
        "two-way, location",
        Statement(Clause(np("the cat"), to("lie", ON, "the table"), "past")),
        "The cat lay on the table.",
        "Die Katze lag auf dem Tisch.",
    ),
    (
        "two-way, direction",
        Statement(Clause(np("the cat"), to("run", INTO, "the house"), "past")),
        "The cat ran into the house.",
        "Die Katze lief ins Haus.",
    ),
    (
        "two-way, putting",
        Statement(
            Clause(I, Putting(verb("put"), BOOK, PrepositionalPhrase(ONTO, np("the chair"))), "future")
        ),
        "I will put the book on the chair.",
        "Ich werde das Buch auf den Stuhl legen.",
    ),
    (
        "contractions",
        Statement(Clause(HE, to("sit", AT, "the river"), "present")),
        "He sits at the river.",
        "Er sitzt am Fluss.",
    ),
    (
        "nicht behind the object",
        Statement(Clause(HE, does("read", "the letter"), "present", negated=True)),
        "He does not read the letter.",
        "Er liest den Brief nicht.",
    ),
    (
        "nicht before a predicative",
        Statement(Clause(I, Being(adjective("tired")), "present", negated=True)),
        "I am not tired.",
        "Ich bin nicht müde.",
    ),
    (
        "kein, singular",
        Statement(Clause(SHE, does("own", "a horse"), "present", negated=True)),
        "She does not own a horse.",
        "Sie besitzt kein Pferd.",
    ),
    (
        "kein, plural and mass",
        Statement(Clause(WE, does("drink", "bare beer"), "past", negated=True)),
        "We did not drink beer.",
        "Wir tranken kein Bier.",
    ),
    (
        "no",
        Statement(Clause(np("the king"), does("have", "no friends"), "present")),
        "The king has no friends.",
        "Der König hat keine Freunde.",
    ),
    (
        "cannot",
        Statement(Clause(HE, SLEEP, "can", negated=True)),
        "He cannot sleep.",
        "Er kann nicht schlafen.",
    ),
    (
        "yes or no",
        YesNo(Clause(YOU, does("know", "my uncle"), "present")),
        "Do you know my uncle?",
        "Kennst du meinen Onkel?",
    ),
    (
        "yes or no, past and prefix",
        YesNo(Clause(np("the train"), Intransitive(verb("arrive")), "past")),
        "Did the train arrive?",
        "Kam der Zug an?",
    ),
    (
        "who",
        WhQuestion(Clause(Interrogative(personal=True), does("open", "the door"), "present")),
        "Who opens the door?",
        "Wer öffnet die Tür?",
    ),
    (
        "whom, dative",
        WhQuestion(Clause(np("the nurse"), Dative(verb("help"), Interrogative(personal=True)), "past")),
        "Who did the nurse help?",
        "Wem half die Krankenschwester?",
    ),
    (
        "whom, preposition",
        WhQuestion(
            Clause(
                YOU,
                Prepositional(verb("wait"), PrepositionalPhrase(FOR, Interrogative(personal=True))),
                "progressive",
            )
        ),
        "Who are you waiting for?",
        "Auf wen wartest du?",
    ),
    (
        "which",
        WhQuestion(Clause(HE, Transitive(verb("buy"), WhichOne(np("which hat"))), "perfect")),
        "Which hat has he bought?",
        "Welchen Hut hat er gekauft?",
    ),
    (
        "where",
        AdverbQuestion("where", Clause(THEY, does("buy", "bare bread"), "present")),
        "Where do they buy bread?",
        "Wo kaufen sie Brot?",
    ),
    (
        "dass",
        Statement(
            Clause(
                I,
                Saying(verb("believe"), "that", Clause(np("the mayor"), does("sell", "his house"), "future")),
                "present",
            )
        ),
        "I believe that the mayor will sell his house.",
        "Ich glaube, dass der Bürgermeister sein Haus verkaufen wird.",
    ),
    (
        "ob",
        Statement(Clause(SHE, Saying(verb("ask"), "whether", Clause(I, SLEEP, "perfect")), "present")),
        "She asks whether I have slept.",
        "Sie fragt, ob ich geschlafen habe.",
    ),
    (
        "wenn in front",
        Preposed(
            "if",
            Clause(it("es"), Intransitive(verb("rain")), "present"),
            Clause(np("the students"), Prepositional(verb("stay"), adverb("zu Hause")), "present"),
        ),
        "If it rains, the students stay at home.",
        "Wenn es regnet, bleiben die Studenten zu Hause.",
    ),
    (
        "nachdem, pluperfect",
        Preposed("after", Clause(I, GET_UP, "pluperfect"), Clause(I, does("drink", "bare coffee"), "past")),
        "After I had gotten up, I drank coffee.",
        "Nachdem ich aufgestanden war, trank ich Kaffee.",
    ),
    (
        "it by gender",
        Subordinated(
            Clause(np("the cat"), SLEEP, "present"),
            "because",
            Clause(it("sie"), Being(adjective("tired")), "present"),
        ),
        "The cat sleeps because it is tired.",
        "Die Katze schläft, weil sie müde ist.",
    ),
    (
        "relative, subject",
        Statement(Clause(who_sleeps(MAN), Being(adjective("old")), "present")),
        "The man who sleeps is old.",
        "Der Mann, der schläft, ist alt.",
    ),
    (
        "relative, accusative, behind the verbs",
        Statement(
            Clause(
                I,
                Transitive(
                    verb("find"),
                    WithRelativeClause(
                        np("the key"),
                        Clause(np("my son"), Transitive(verb("lose"), relative(np("the key"))), "perfect"),
                    ),
                ),
                "perfect",
            )
        ),
        "I have found the key that my son has lost.",
        "Ich habe den Schlüssel gefunden, den mein Sohn verloren hat.",
    ),
    (
        "relative, dative",
        Statement(
            Clause(
                WithRelativeClause(
                    np("the tourists"),
                    Clause(HE, Dative(verb("thank"), relative(np("the tourists"))), "past"),
                ),
                Intransitive(verb("laugh")),
                "present",
            )
        ),
        "The tourists that he thanked laugh.",
        "Die Touristen, denen er dankte, lachen.",
    ),
    (
        "relative, preposition",
        Statement(
            Clause(
                WithRelativeClause(
                    WOMAN,
                    Clause(
                        HE, Prepositional(verb("wait"), PrepositionalPhrase(FOR, relative(WOMAN))), "present"
                    ),
                ),
                to("live", IN, "the city"),
                "present",
            )
        ),
        "The woman that he waits for lives in the city.",
        "Die Frau, auf die er wartet, wohnt in der Stadt.",
    ),
    (
        "comparative",
        Statement(Clause(np("our house"), Compared(adjective("old"), False, np("the church")), "present")),
        "Our house is older than the church.",
        "Unser Haus ist älter als die Kirche.",
    ),
    (
        "as ... as",
        Statement(Clause(name("Peter"), Compared(adjective("strong"), True, np("a bear")), "past")),
        "Peter was as strong as a bear.",
        "Peter war so stark wie ein Bär.",
    ),
    (
        "superlative",
        Statement(Clause(HE, Transitive(verb("buy"), np("the expensive car", 2)), "past")),
        "He bought the most expensive car.",
        "Er kaufte das teuerste Auto.",
    ),
    (
        "attributive comparative",
        Statement(Clause(I, Transitive(verb("need"), np("a big table", 1)), "present")),
        "I need a bigger table.",
        "Ich brauche einen größeren Tisch.",
    ),
    (
        "profession, nominative",
        Statement(Clause(HE, BeingOne(np("a good lawyer")), "present", negated=True)),
        "He is not a good lawyer.",
        "Er ist kein guter Anwalt.",
    ),
    (
        "passive",
        Statement(Clause(BOOK, Passive(verb("read"), name("Anna")), "past")),
        "The book was read by Anna.",
        "Das Buch wurde von Anna gelesen.",
    ),
    (
        "passive, perfect",
        Statement(Clause(np("the long letters"), Passive(verb("write"), None), "perfect")),
        "The long letters have been written.",
        "Die langen Briefe sind geschrieben worden.",
    ),
    (
        "passive, modal, prefix",
        Statement(Clause(np("the radio"), Passive(verb("turn", "off"), None), "must")),
        "The radio must be turned off.",
        "Das Radio muss ausgeschaltet werden.",
    ),
    (
        "contracted agent",
        Statement(Clause(np("the bread"), Passive(verb("buy"), np("the baker")), "present")),
        "The bread is bought by the baker.",
        "Das Brot wird vom Bäcker gekauft.",
    ),
    (
        "coordination",
        Statement(
            Clause(CoordinatedNounPhrase(name("Anna"), np("her father")), does("see", "a elephant"), "past")
        ),
        "Anna and her father saw an elephant.",
        "Anna und ihr Vater sahen einen Elefanten.",
    ),
    (
        "two clauses",
        Joined(Clause(I, SLEEP, "present"), "but", Clause(YOU, Intransitive(verb("work")), "present")),
        "I sleep, but you work.",
        "Ich schlafe, aber du arbeitest.",
    ),
    (
        "two predicates",
        Chained(
            Clause(SHE, does("buy", "the newspaper"), "present"),
            Clause(SHE, Transitive(verb("read"), it("sie")), "present"),
        ),
        "She buys the newspaper and reads it.",
        "Sie kauft die Zeitung und liest sie.",
    ),
    (
        "there is",
        Existence(np("a dog"), garden("behind"), "present"),
        "There is a dog behind the garden.",
        "Hinter dem Garten gibt es einen Hund.",
    ),
    (
        "there were",
        Existence(np("many children"), garden(), "past"),
        "There were many children in the garden.",
        "Im Garten gab es viele Kinder.",
    ),
    (
        "request",
        Imperative(does("read", "the long letter")),
        "Please read the long letter.",
        "Bitte lies den langen Brief.",
    ),
    (
        "request, prefix",
        Imperative(Transitive(verb("invite"), np("your aunt"))),
        "Please invite your aunt.",
        "Bitte lade deine Tante ein.",
    ),
    (
        "name's",
        Statement(
            Clause(
                Owned(name("Anna"), Common("bare", adjective("new"), 0, noun("bicycle"), plural=False)),
                Being(adjective("expensive")),
                "present",
            )
        ),
        "Anna's new bicycle is expensive.",
        "Annas neues Fahrrad ist teuer.",
    ),
    (
        "genitive",
        Statement(
            Clause(
                Owned(np("the teacher"), Common("bare", None, 0, noun("car"), plural=False)),
                Being(adjective("fast")),
                "present",
            )
        ),
        "The teacher's car is fast.",
        "Das Auto des Lehrers ist schnell.",
    ),
    (
        "genitive, feminine",
        Statement(
            Clause(
                HE,
                Transitive(
                    verb("wash"),
                    Owned(np("my mother"), Common("bare", adjective("red"), 0, noun("dress"), plural=True)),
                ),
                "past",
            )
        ),
        "He washed my mother's red dresses.",
        "Er wusch die roten Kleider meiner Mutter.",
    ),
    (
        "phrase in a phrase",
        Statement(
            Clause(
                I,
                Transitive(
                    verb("like"),
                    Placed(
                        np("the tree"),
                        PrepositionalPhrase(preposition("in front of", "vor"), np("the old church")),
                    ),
                ),
                "present",
            )
        ),
        "I like the tree in front of the old church.",
        "Ich mag den Baum vor der alten Kirche.",
    ),
    (
        "order of adverbials",
        Statement(
            Clause(
                np("the children"), Intransitive(verb("play")), "past", place=garden(), time=adverb("heute")
            )
        ),
        "The children played in the garden today.",
        "Die Kinder spielten heute im Garten.",
    ),
    (
        "frequency",
        Statement(Clause(HE, Being(adjective("sick")), "present", frequency=adverb("nie"))),
        "He is never sick.",
        "Er ist nie krank.",
    ),
    (
        "frequency, auxiliary",
        Statement(Clause(HE, does("visit", "our city"), "perfect", frequency=adverb("oft"))),
        "He has often visited our city.",
        "Er hat oft unsere Stadt besucht.",
    ),
    (
        "manner",
        Statement(Clause(SHE, does("open", "the box"), "past", manner=adverb("vorsichtig"))),
        "She opened the box carefully.",
        "Sie öffnete die Kiste vorsichtig.",
    ),
    (
        "company",
        Statement(Clause(I, Intransitive(verb("dance")), "present", place=PrepositionalPhrase(WITH, THEY))),
        "I dance with them.",
        "Ich tanze mit ihnen.",
    ),
]


@pytest.mark.parametrize(
    ("sentence", "english", "german"), [each[1:] for each in PAIRS], ids=[each[0] for each in PAIRS]
)
def test_sample_pair(sentence: Sentence, english: str, german: str) -> None:
    assert both(sentence) == (english, german)


TREES = [
    (
        Statement(Clause(DOG, SLEEP, "present")),
        "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ sleeps)) (. .)))",
    ),
    (
        Statement(Clause(HE, does("turn", "the lamp", "off"), "can", negated=True)),
        (
            "(TOP (S (NP (PRP He)) (VP (MD can) (RB not) "
            "(VP (VB turn) (PRT (RP off)) (NP (DT the) (NN lamp)))) (. .)))"
        ),
    ),
    (
        YesNo(Clause(YOU, does("know", "my uncle"), "present")),
        "(TOP (SQ (VBP Do) (NP (PRP you)) (VP (VB know) (NP (PRP$ my) (NN uncle))) (. ?)))",
    ),
    (
        AdverbQuestion("why", Clause(I, Being(adjective("sad")), "past")),
        "(TOP (SBARQ (WHADVP (WRB Why)) (SQ (VBD was) (NP (PRP I)) (ADJP (JJ sad))) (. ?)))",
    ),
    (
        Statement(Clause(who_sleeps(MAN), Being(adjective("old")), "present")),
        (
            "(TOP (S (NP (NP (DT The) (NN man)) (SBAR (WHNP (WP who)) (S (VP (VBZ sleeps))))) "
            "(VP (VBZ is) (ADJP (JJ old))) (. .)))"
        ),
    ),
    (
        Preposed("when", Clause(I, GET_UP, "past"), Clause(HE, SLEEP, "want")),
        (
            "(TOP (S (SBAR (WHADVP (WRB When)) (S (NP (PRP I)) (VP (VBD got) (PRT (RP up))))) (, ,) "
            "(NP (PRP he)) (VP (VBZ wants) (S (VP (TO to) (VP (VB sleep))))) (. .)))"
        ),
    ),
]


@pytest.mark.parametrize(("sentence", "expected"), TREES)
def test_sample_tree(sentence: Sentence, expected: str) -> None:
    tree = sentence.english()
    assert str(tree) == expected
    assert nltk.Tree.fromstring(expected).leaves() == tree.leaves()
