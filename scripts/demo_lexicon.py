"""The words of the demo language: German-like on the left, English on the right, and how they inflect.

Only what cannot be derived is listed. A word of the source may have two meanings when something else in the sentence
tells them apart: ``Schloss`` is a lock where doors are opened and a castle where places are visited, ``Leiter`` is
``der`` leader or ``die`` ladder, and ``machen`` waits for ``auf`` or ``zu`` at the end of the clause.
"""

from dataclasses import dataclass

# gender, singular, plural (. = none), kinds, English singular, English plural (- = regular)
_NOUNS = """
m Mann Männer person man men
f Frau Frauen person woman women
n Kind Kinder person child children
m Lehrer Lehrer person teacher -
f Lehrerin Lehrerinnen person teacher -
m Arzt Ärzte person doctor -
f Königin Königinnen person queen -
m König Könige person king -
f Tochter Töchter person daughter -
m Bruder Brüder person brother -
f Schwester Schwestern person sister -
m Freund Freunde person friend -
m Dieb Diebe person thief thieves
m Leiter . person leader -
m Hund Hunde animal dog -
f Katze Katzen animal cat -
n Pferd Pferde animal horse -
m Vogel Vögel animal bird -
f Kuh Kühe animal cow -
f Maus Mäuse animal mouse mice
m Tisch Tische thing,surface table -
f Lampe Lampen thing lamp -
n Buch Bücher thing,text book -
m Brief Briefe thing,text letter -
m Schlüssel Schlüssel thing key -
n Messer Messer thing knife knives
f Uhr Uhren thing clock -
f Leiter . thing ladder -
f Tür Türen thing,lid door -
n Fenster Fenster thing,lid window -
m Koffer Koffer thing,lid suitcase -
n Schloss . lid lock -
n Schloss . place castle -
m Apfel Äpfel food apple -
f Birne Birnen food pear -
m Kuchen . food cake -
n Ei Eier food egg -
n Haus Häuser place house -
m Garten Gärten place garden -
f Stadt Städte place city cities
n Dorf Dörfer place village -
m Wald Wälder place forest -
f Küche Küchen place kitchen -
f Schule Schulen place school -
f Bank . place bank -
f Bank . surface bench benches
m See . place lake -
f See . place sea -
f Brücke Brücken surface bridge -
"""

# First parts of compound nouns, as they stand in the compound; any noun of that sort can follow.
_MODIFIERS = """
any Garten=garden Stadt=city Dorf=village Wald=forest Berg=mountain Königs=royal Haus=house
any Wasser=water
lifeless Holz=wooden Stein=stone Sommer=summer Gold=golden Silber=silver
lifeless Eis=ice
"""

# what it describes, positive, comparative (. = none), English positive, English comparative
_ADJECTIVES = """
any groß größer big bigger
any klein kleiner small smaller
any alt älter old older
living jung jünger young younger
lifeless neu neuer new newer
any schön schöner beautiful more_beautiful
living stark stärker strong stronger
lifeless schwer schwerer heavy heavier
living schnell schneller fast faster
living langsam langsamer slow slower
lifeless kalt kälter cold colder
lifeless warm wärmer warm warmer
lifeless rot . red .
lifeless blau . blue .
lifeless schwarz . black .
lifeless grün . green .
living müde . tired .
lifeless leer . empty .
living ehrlich ehrlicher honest more_honest
living freundlich freundlicher friendly friendlier
living unehrlich unehrlicher dishonest more_dishonest
living unfreundlich unfreundlicher unfriendly unfriendlier
"""

# frame, infinitive (prefix|verb), third person, preterite, participle, auxiliary, subject kinds, object kinds
# (. = none), English base (with particle), past, participle
_VERBS = """
acc sehen sieht sah gesehen hat person,animal person,animal,thing,food see saw seen
acc suchen sucht suchte gesucht hat person,animal person,animal,thing,food look_for looked looked
acc finden findet fand gefunden hat person,animal person,animal,thing,food find found found
acc kaufen kauft kaufte gekauft hat person animal,thing,food buy bought bought
acc verkaufen verkauft verkaufte verkauft hat person animal,thing,food sell sold sold
acc tragen trägt trug getragen hat person,animal thing,food carry carried carried
acc brauchen braucht brauchte gebraucht hat person person,animal,thing,food need needed needed
acc malen malt malte gemalt hat person person,animal,thing,food paint painted painted
acc essen isst aß gegessen hat person,animal food eat ate eaten
acc lesen liest las gelesen hat person text read read read
acc schreiben schreibt schrieb geschrieben hat person text write wrote written
acc besuchen besucht besuchte besucht hat person person,place visit visited visited
acc verlassen verlässt verließ verlassen hat person place leave left left
acc bauen baut baute gebaut hat person place build built built
acc lieben liebt liebte geliebt hat person,animal person,animal,food love loved loved
acc auf|machen macht machte gemacht hat person lid open opened opened
acc zu|machen macht machte gemacht hat person lid close closed closed
acc an|rufen ruft rief gerufen hat person person phone phoned phoned
acc ab|holen holt holte geholt hat person person,animal,thing fetch fetched fetched
acc mit|nehmen nimmt nahm genommen hat person person,animal,thing,food take_along took taken
acc an|sehen sieht sah gesehen hat person person,animal,thing look_at looked looked
acc aus|suchen sucht suchte gesucht hat person animal,thing,food choose chose chosen
acc vor|lesen liest las gelesen hat person text read_out read read
acc auf|essen isst aß gegessen hat person,animal food eat_up ate eaten
dat helfen hilft half geholfen hat person person,animal help helped helped
dat danken dankt dankte gedankt hat person person thank thanked thanked
dat folgen folgt folgte gefolgt ist person,animal person,animal follow followed followed
give geben gibt gab gegeben hat person thing,food,animal give gave given
give zeigen zeigt zeigte gezeigt hat person thing,animal,food show showed shown
none schlafen schläft schlief geschlafen hat person,animal . sleep slept slept
none ein|schlafen schläft schlief geschlafen ist person,animal . fall_asleep fell fallen
none lachen lacht lachte gelacht hat person . laugh laughed laughed
none arbeiten arbeitet arbeitete gearbeitet hat person,animal . work worked worked
none warten wartet wartete gewartet hat person,animal . wait waited waited
none singen singt sang gesungen hat person,animal . sing sang sung
none an|kommen kommt kam gekommen ist person,animal . arrive arrived arrived
none auf|stehen steht stand gestanden ist person,animal . get_up got got
none weg|laufen läuft lief gelaufen ist person,animal . run_away ran run
move gehen geht ging gegangen ist person,animal . go went gone
move laufen läuft lief gelaufen ist person,animal . run ran run
move kommen kommt kam gekommen ist person,animal . come came come
move zurück|kommen kommt kam gekommen ist person,animal . come_back came come
say sagen sagt sagte gesagt hat person . say said said
say hoffen hofft hoffte gehofft hat person . hope hoped hoped
say hören hört hörte gehört hat person . hear heard heard
ask fragen fragt fragte gefragt hat person . ask asked asked
"""

TIMES = {
    "present": {"heute": "today", "jetzt": "now", "jeden Tag": "every day", "oft": "often"},
    "past": {"gestern": "yesterday", "damals": "then", "letzte Woche": "last week", "letztes Jahr": "last year"},
    "future": {"morgen": "tomorrow", "bald": "soon", "nächste Woche": "next week", "nächstes Jahr": "next year"},
}
MANNERS = {"schnell": "quickly", "langsam": "slowly", "leise": "quietly", "gern": "gladly", "allein": "alone"}
DAYS = {"Montag": "Monday", "Dienstag": "Tuesday", "Freitag": "Friday", "Sonntag": "Sunday"}

UNITS = {
    2: ("zwei", "two"), 3: ("drei", "three"), 4: ("vier", "four"), 5: ("fünf", "five"), 6: ("sechs", "six"),
    7: ("sieben", "seven"), 8: ("acht", "eight"), 9: ("neun", "nine"),
}  # fmt: skip
TENS = {
    2: ("zwanzig", "twenty"), 3: ("dreißig", "thirty"), 4: ("vierzig", "forty"), 5: ("fünfzig", "fifty"),
    6: ("sechzig", "sixty"), 7: ("siebzig", "seventy"), 8: ("achtzig", "eighty"), 9: ("neunzig", "ninety"),
}  # fmt: skip

# ich, du, er, wir, ihr, sie: forms no rule gives.
IRREGULAR = {
    "haben": ("habe hast hat haben habt haben", "hatte"),
    "sein": ("bin bist ist sind seid sind", "war"),
    "werden": ("werde wirst wird werden werdet werden", "wurde"),
    "können": ("kann kannst kann können könnt können", "konnte"),
    "müssen": ("muss musst muss müssen müsst müssen", "musste"),
    "wollen": ("will willst will wollen wollt wollen", "wollte"),
    "sollen": ("soll sollst soll sollen sollt sollen", "sollte"),
    "dürfen": ("darf darfst darf dürfen dürft dürfen", "durfte"),
}


@dataclass(frozen=True)
class Noun:
    """A noun; ``plural`` is None where the demo language uses the singular only. ``gender`` is m, f or n."""

    gender: str
    singular: str
    plural: str | None
    kinds: frozenset[str]
    english: str
    english_plural: str

    def fits(self, sort: str) -> bool:
        """Whether an adjective or modifier of this sort (living, lifeless, any) may describe it."""
        return sort in ("any", "living" if self.kinds & {"person", "animal"} else "lifeless")


@dataclass(frozen=True)
class Adjective:
    """An adjective; ``comparative`` is None where there is none. ``sort`` is living, lifeless or any."""

    sort: str
    german: str
    comparative: str | None
    english: str
    english_comparative: str


@dataclass(frozen=True)
class Verb:
    """A verb with the forms that rules cannot give; English forms are without the ``particle``."""

    frame: str
    prefix: str
    infinitive: str
    third: str
    preterite: str
    participle: str
    auxiliary: str
    subjects: frozenset[str]
    objects: frozenset[str]
    english: str
    past: str
    english_participle: str
    particle: str


def _noun(line: str) -> Noun:
    gender, singular, plural, kinds, english, english_plural = line.split()
    if english_plural == "-":
        english_plural = english + "s"
    return Noun(
        gender, singular, None if plural == "." else plural, frozenset(kinds.split(",")), english, english_plural
    )


def _adjective(line: str) -> Adjective:
    sort, german, comparative, english, english_comparative = line.split()
    return Adjective(
        sort, german, None if comparative == "." else comparative, english, english_comparative.replace("_", " ")
    )


def _verb(line: str) -> Verb:
    frame, infinitive, third, preterite, participle, auxiliary, subjects, objects, english, past, done = line.split()
    prefix, _, verb = infinitive.rpartition("|")
    base, _, particle = english.partition("_")
    kinds = frozenset() if objects == "." else frozenset(objects.split(","))
    auxiliary = {"hat": "haben", "ist": "sein"}[auxiliary]
    return Verb(
        frame, prefix, verb, third, preterite, prefix + participle, auxiliary, frozenset(subjects.split(",")), kinds,
        base, past, done, particle,
    )  # fmt: skip


NOUNS = tuple(_noun(line) for line in _NOUNS.strip().splitlines())
ADJECTIVES = tuple(_adjective(line) for line in _ADJECTIVES.strip().splitlines())
VERBS = tuple(_verb(line) for line in _VERBS.strip().splitlines())
# sort, German, English
MODIFIERS = tuple(
    (line.split()[0], *pair.split("=")) for line in _MODIFIERS.strip().splitlines() for pair in line.split()[1:]
)
