"""The words of the demo corpus: one English word, one German word, and what inflection needs.

Genders are ``m``, ``f`` and ``n``. ``kinds`` are the semantic classes that verbs and adjectives
select (``person``, ``food``, …), several of them separated by blanks.
"""

from __future__ import annotations

from typing import NamedTuple


class Noun(NamedTuple):
    """A common noun. ``genitive`` is the ending of the German genitive singular."""

    en: str
    en_plural: str
    de: str
    de_plural: str
    gender: str
    genitive: str
    kinds: str
    weak: bool = False  # n-declension: every singular form but the nominative is the plural
    mass: bool = False  # has no plural and no indefinite article


class Adjective(NamedTuple):
    """An adjective; ``de_stem`` is the German stem before endings where it differs."""

    en: str
    de: str
    en_comparative: str
    de_comparative: str
    kinds: str
    de_stem: str = ""


class Verb(NamedTuple):
    """A verb with its frame.

    ``objects`` names the kinds of the object and ``case`` its German case; ``recipient`` says
    that a dative person comes before it. ``place`` is ``in`` or ``to`` where the verb needs one,
    ``maybe`` where it may have a location. ``de_preposition`` and ``en_preposition`` stand before
    the object; ``particle`` is the English adverbial one (*picks him up*) and ``prefix`` the
    separable German one, which ``de`` (the infinitive) lacks. ``du`` and ``er`` are irregular
    present forms and ``preterite`` is used in place of the perfect.
    """

    en: str
    en_past: str
    de: str
    participle: str
    subjects: str
    objects: str = ""
    case: str = "acc"
    recipient: bool = False
    place: str = ""
    du: str = ""
    er: str = ""
    prefix: str = ""
    sein: bool = False
    preterite: str = ""
    stative: bool = False  # takes no time, no modal verb and no command
    particle: str = ""
    en_preposition: str = ""
    de_preposition: str = ""


class Modal(NamedTuple):
    """A modal verb with an infinitive; no ``en_past`` means that it has no past tense here."""

    en: str
    en_past: str
    de: str
    singular: str
    preterite: str
    do_support: bool


class Conjunction(NamedTuple):
    """Joins two clauses; ``verb_final`` is the German order of the clause it opens."""

    en: str
    de: str
    verb_final: bool = True
    en_comma: bool = False
    de_comma: bool = True


# fmt: off
NOUNS: tuple[Noun, ...] = (
    # English   plural       German        plural         gender, genitive
    Noun("man", "men", "Mann", "Männer", "m", "es", "person"),
    Noun("woman", "women", "Frau", "Frauen", "f", "", "person"),
    Noun("child", "children", "Kind", "Kinder", "n", "es", "person"),
    Noun("boy", "boys", "Junge", "Jungen", "m", "", "person", weak=True),
    Noun("girl", "girls", "Mädchen", "Mädchen", "n", "s", "person"),
    Noun("student", "students", "Student", "Studenten", "m", "", "person", weak=True),
    Noun("teacher", "teachers", "Lehrer", "Lehrer", "m", "s", "person"),
    Noun("doctor", "doctors", "Arzt", "Ärzte", "m", "es", "person"),
    Noun("neighbour", "neighbours", "Nachbar", "Nachbarn", "m", "", "person kin", weak=True),
    Noun("friend", "friends", "Freund", "Freunde", "m", "es", "person kin"),
    Noun("brother", "brothers", "Bruder", "Brüder", "m", "s", "person kin"),
    Noun("sister", "sisters", "Schwester", "Schwestern", "f", "", "person kin"),
    Noun("daughter", "daughters", "Tochter", "Töchter", "f", "", "person kin"),
    Noun("aunt", "aunts", "Tante", "Tanten", "f", "", "person kin"),
    Noun("dog", "dogs", "Hund", "Hunde", "m", "es", "animal"),
    Noun("cat", "cats", "Katze", "Katzen", "f", "", "animal"),
    Noun("horse", "horses", "Pferd", "Pferde", "n", "es", "animal"),
    Noun("bird", "birds", "Vogel", "Vögel", "m", "s", "animal"),
    Noun("mouse", "mice", "Maus", "Mäuse", "f", "", "animal"),
    Noun("apple", "apples", "Apfel", "Äpfel", "m", "s", "food ware"),
    Noun("egg", "eggs", "Ei", "Eier", "n", "s", "food ware"),
    Noun("tomato", "tomatoes", "Tomate", "Tomaten", "f", "", "food ware"),
    Noun("cake", "cakes", "Kuchen", "Kuchen", "m", "s", "food ware"),
    Noun("milk", "", "Milch", "", "f", "", "drink", mass=True),
    Noun("water", "", "Wasser", "", "n", "s", "drink", mass=True),
    Noun("tea", "", "Tee", "", "m", "s", "drink", mass=True),
    Noun("book", "books", "Buch", "Bücher", "n", "es", "thing ware text"),
    Noun("letter", "letters", "Brief", "Briefe", "m", "es", "thing text"),
    Noun("picture", "pictures", "Bild", "Bilder", "n", "es", "thing ware"),
    Noun("key", "keys", "Schlüssel", "Schlüssel", "m", "s", "thing"),
    Noun("bag", "bags", "Tasche", "Taschen", "f", "", "thing ware lid"),
    Noun("knife", "knives", "Messer", "Messer", "n", "s", "thing ware"),
    Noun("box", "boxes", "Kiste", "Kisten", "f", "", "thing ware lid"),
    Noun("lamp", "lamps", "Lampe", "Lampen", "f", "", "thing ware device"),
    Noun("coat", "coats", "Mantel", "Mäntel", "m", "s", "thing ware"),
    Noun("chair", "chairs", "Stuhl", "Stühle", "m", "s", "thing ware"),
    Noun("radio", "radios", "Radio", "Radios", "n", "s", "thing ware device"),
    Noun("car", "cars", "Auto", "Autos", "n", "s", "vehicle machine"),
    Noun("bicycle", "bicycles", "Fahrrad", "Fahrräder", "n", "s", "machine"),
    Noun("train", "trains", "Zug", "Züge", "m", "es", "vehicle"),
    Noun("bus", "buses", "Bus", "Busse", "m", "ses", "vehicle"),
    Noun("house", "houses", "Haus", "Häuser", "n", "es", "building"),
    Noun("church", "churches", "Kirche", "Kirchen", "f", "", "building"),
    Noun("school", "schools", "Schule", "Schulen", "f", "", "building"),
    Noun("shop", "shops", "Laden", "Läden", "m", "s", "building"),
    Noun("kitchen", "kitchens", "Küche", "Küchen", "f", "", "room"),
    Noun("garden", "gardens", "Garten", "Gärten", "m", "s", "outdoors"),
    Noun("park", "parks", "Park", "Parks", "m", "s", "outdoors"),
    Noun("village", "villages", "Dorf", "Dörfer", "n", "es", "outdoors"),
    Noun("tree", "trees", "Baum", "Bäume", "m", "es", "plant"),
    Noun("flower", "flowers", "Blume", "Blumen", "f", "", "plant ware"),
    Noun("door", "doors", "Tür", "Türen", "f", "", "lid"),
    Noun("window", "windows", "Fenster", "Fenster", "n", "s", "lid"),
    Noun("concert", "concerts", "Konzert", "Konzerte", "n", "s", "event"),
    Noun("party", "parties", "Feier", "Feiern", "f", "", "event"),
    Noun("film", "films", "Film", "Filme", "m", "s", "event"),
    Noun("exam", "exams", "Prüfung", "Prüfungen", "f", "", "event"),
    Noun("weather", "", "Wetter", "", "n", "s", "weather", mass=True),
    Noun("rain", "", "Regen", "", "m", "s", "cause", mass=True),
    Noun("snow", "", "Schnee", "", "m", "s", "cause", mass=True),
)

_OBJECT = "thing machine"
_BIG = "building room outdoors plant"
ADJECTIVES: tuple[Adjective, ...] = (
    Adjective("old", "alt", "older", "älter", f"person animal vehicle building {_OBJECT} plant"),
    Adjective("young", "jung", "younger", "jünger", "person animal"),
    Adjective("big", "groß", "bigger", "größer", f"animal vehicle food lid {_OBJECT} {_BIG}"),
    Adjective("small", "klein", "smaller", "kleiner",
              f"person animal vehicle food lid {_OBJECT} {_BIG}"),
    Adjective("new", "neu", "newer", "neuer", f"vehicle building lid {_OBJECT} event"),
    Adjective("beautiful", "schön", "more beautiful", "schöner",
              f"animal event thing {_BIG}"),
    Adjective("cheap", "billig", "cheaper", "billiger", "machine ware"),
    Adjective("expensive", "teuer", "more expensive", "teurer", "machine ware", "teur"),
    Adjective("good", "gut", "better", "besser", "event text food drink weather"),
    Adjective("bad", "schlecht", "worse", "schlechter", "event text weather"),
    Adjective("long", "lang", "longer", "länger", "event text"),
    Adjective("heavy", "schwer", "heavier", "schwerer", "thing"),
    Adjective("high", "hoch", "higher", "höher", "building plant", "hoh"),
    Adjective("dark", "dunkel", "darker", "dunkler", "room building", "dunkl"),
    Adjective("cold", "kalt", "colder", "kälter", "drink weather room"),
    Adjective("hot", "heiß", "hotter", "heißer", "drink"),
    Adjective("red", "rot", "", "", "vehicle food lid machine"),
    Adjective("green", "grün", "", "", "vehicle lid machine"),
    Adjective("tired", "müde", "more tired", "müder", "person animal"),
    Adjective("hungry", "hungrig", "hungrier", "hungriger", "person animal"),
    Adjective("happy", "glücklich", "happier", "glücklicher", "person"),
    Adjective("friendly", "freundlich", "friendlier", "freundlicher", "person"),
    Adjective("sick", "krank", "sicker", "kränker", "person animal"),
    Adjective("rich", "reich", "richer", "reicher", "person"),
    Adjective("clever", "klug", "cleverer", "klüger", "person animal"),
)

BE = Verb("be", "was", "sein", "gewesen", "", preterite="war", sein=True)
SAY = Verb("say", "said", "sagen", "gesagt", "person")
BELIEVE = Verb("believe", "believed", "glauben", "geglaubt", "person")
KNOW_THAT = Verb("know", "knew", "wissen", "gewusst", "person", du="weißt", er="weiß",
                 preterite="wusste")
_SEEN = "person animal vehicle machine building plant thing"
VERBS: tuple[Verb, ...] = (
    # With an accusative object.
    Verb("see", "saw", "sehen", "gesehen", "person animal", _SEEN, du="siehst", er="sieht"),
    Verb("buy", "bought", "kaufen", "gekauft", "person", "ware machine", place="maybe"),
    Verb("sell", "sold", "verkaufen", "verkauft", "person", "ware machine"),
    Verb("find", "found", "finden", "gefunden", "person animal", "person animal thing food",
         place="maybe"),
    Verb("look", "looked", "suchen", "gesucht", "person", "person animal thing",
         en_preposition="for", place="maybe"),
    Verb("eat", "ate", "essen", "gegessen", "person", "food", du="isst", er="isst", place="maybe"),
    Verb("drink", "drank", "trinken", "getrunken", "person", "drink", place="maybe"),
    Verb("carry", "carried", "tragen", "getragen", "person", "thing", du="trägst", er="trägt"),
    Verb("have", "had", "haben", "gehabt", "person", "animal ware machine",
         du="hast", er="hat", preterite="hatte", stative=True),
    Verb("need", "needed", "brauchen", "gebraucht", "person", "thing machine", stative=True),
    Verb("love", "loved", "lieben", "geliebt", "person", "person animal", stative=True),
    Verb("know", "knew", "kennen", "gekannt", "person", "person", preterite="kannte",
         stative=True),
    Verb("draw", "drew", "zeichnen", "gezeichnet", "person", "person animal plant building",
         place="maybe"),
    Verb("write", "wrote", "schreiben", "geschrieben", "person", "text", place="maybe"),
    Verb("repair", "repaired", "reparieren", "repariert", "person", "machine device lid"),
    Verb("visit", "visited", "besuchen", "besucht", "person", "person"),
    Verb("meet", "met", "treffen", "getroffen", "person", "person", du="triffst", er="trifft",
         place="maybe"),
    Verb("open", "opened", "machen", "gemacht", "person", "lid", prefix="auf"),
    Verb("close", "closed", "machen", "gemacht", "person", "lid", prefix="zu"),
    Verb("call", "called", "rufen", "gerufen", "person", "person", prefix="an"),
    Verb("invite", "invited", "laden", "geladen", "person", "person", du="lädst", er="lädt",
         prefix="ein"),
    Verb("pick", "picked", "holen", "geholt", "person", "person", prefix="ab", particle="up"),
    Verb("turn", "turned", "schalten", "geschaltet", "person", "device", prefix="ein",
         particle="on"),
    # With a dative object.
    Verb("help", "helped", "helfen", "geholfen", "person", "person", "dat", du="hilfst",
         er="hilft"),
    Verb("thank", "thanked", "danken", "gedankt", "person", "person", "dat"),
    Verb("follow", "followed", "folgen", "gefolgt", "person animal", "person animal", "dat",
         sein=True),
    Verb("belong", "belonged", "gehören", "gehört", "thing machine", "person", "dat",
         en_preposition="to", stative=True),
    Verb("listen", "listened", "hören", "gehört", "person", "person", "dat", prefix="zu",
         en_preposition="to"),
    # With a prepositional object.
    Verb("wait", "waited", "warten", "gewartet", "person", "person vehicle", "acc",
         en_preposition="for", de_preposition="auf", place="maybe"),
    Verb("think", "thought", "denken", "gedacht", "person", "person event", "acc",
         en_preposition="of", de_preposition="an"),
    Verb("talk", "talked", "sprechen", "gesprochen", "person", "person", "dat", du="sprichst",
         er="spricht", en_preposition="with", de_preposition="mit", place="maybe"),
    # With a dative recipient and an accusative object.
    Verb("give", "gave", "geben", "gegeben", "person", "ware", recipient=True, du="gibst",
         er="gibt"),
    Verb("show", "showed", "zeigen", "gezeigt", "person", "thing animal machine", recipient=True),
    Verb("send", "sent", "schicken", "geschickt", "person", "thing ware", recipient=True),
    # Without an object.
    Verb("sleep", "slept", "schlafen", "geschlafen", "person animal", du="schläfst", er="schläft",
         place="maybe"),
    Verb("work", "worked", "arbeiten", "gearbeitet", "person", place="maybe"),
    Verb("dance", "danced", "tanzen", "getanzt", "person", place="maybe"),
    Verb("get", "got", "stehen", "gestanden", "person", prefix="auf", sein=True, particle="up"),
    Verb("arrive", "arrived", "kommen", "gekommen", "person vehicle", prefix="an", sein=True),
    Verb("begin", "began", "fangen", "gefangen", "event", du="fängst", er="fängt", prefix="an"),
    # With a place.
    Verb("live", "lived", "wohnen", "gewohnt", "person", place="in", stative=True),
    Verb("go", "went", "gehen", "gegangen", "person", place="to", sein=True),
    Verb("run", "ran", "laufen", "gelaufen", "person animal", place="to", du="läufst", er="läuft",
         sein=True),
    Verb("travel", "travelled", "reisen", "gereist", "person", place="city", sein=True),
    Verb("stand", "stood", "stehen", "gestanden", "person animal", place="at"),
)

MODALS = (
    Modal("can", "could", "können", "kann", "konnte", do_support=False),
    Modal("should", "", "sollen", "sollte", "sollte", do_support=False),
    Modal("want", "wanted", "wollen", "will", "wollte", do_support=True),
    Modal("have", "had", "müssen", "muss", "musste", do_support=True),
)
# fmt: on

FEMALE_NAMES = ("Anna", "Maria", "Lena", "Julia", "Laura", "Sarah", "Emma", "Clara", "Nina", "Eva")
MALE_NAMES = (
    "Paul",
    "Peter",
    "Martin",
    "Daniel",
    "Robert",
    "David",
    "Simon",
    "Oliver",
    "Adam",
    "Leon",
)
CITIES = (
    "Berlin",
    "Hamburg",
    "Paris",
    "London",
    "Madrid",
    "Dublin",
    "Oslo",
    "Boston",
    "Dresden",
    "Amsterdam",
)

NUMBERS = {
    "two": "zwei",
    "three": "drei",
    "four": "vier",
    "five": "fünf",
    "six": "sechs",
    "seven": "sieben",
    "eight": "acht",
    "nine": "neun",
    "ten": "zehn",
    "eleven": "elf",
    "twelve": "zwölf",
}
DAYS = {
    "Monday": "Montag",
    "Tuesday": "Dienstag",
    "Wednesday": "Mittwoch",
    "Thursday": "Donnerstag",
    "Friday": "Freitag",
    "Saturday": "Samstag",
    "Sunday": "Sonntag",
}
FREQUENCIES = {
    "often": "oft",
    "always": "immer",
    "sometimes": "manchmal",
    "rarely": "selten",
    "never": "nie",
}
DEGREES = {"very": "sehr", "too": "zu", "really": "wirklich"}
QUESTION_ADVERBS = {"where": "wo", "when": "wann", "why": "warum"}

BECAUSE = Conjunction("because", "weil")
ALTHOUGH = Conjunction("although", "obwohl")
IF = Conjunction("if", "wenn")
THAT = Conjunction("that", "dass")
WHETHER = Conjunction("whether", "ob")
BUT = Conjunction("but", "aber", verb_final=False, en_comma=True)
AND = Conjunction("and", "und", verb_final=False, de_comma=False)
