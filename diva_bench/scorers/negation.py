"""Tables of the label parser: words that deny, that join, that end a denied part, and that say that the answer is unknown.

The tables are closed, with one block per language, and signed by `VERSION`; tests/test_label_tables.py tests every
entry. A word with another meaning in another language is left out (nu, tak, en, noch, heb, pole). Entries are compared
as whole tokens, see `label_tokens.tokens`. The sets of single words at the end are mostly English.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION = 3
"""Bump it when an entry is added or removed."""


@dataclass(frozen=True, slots=True)
class Language:
    """The entries of one language, each field with "|" between them."""

    before: str = ""
    """Words that deny what follows, up to the end of the clause."""
    behind: str = ""
    """Words that deny what precedes, back to the beginning of the clause."""
    idioms: str = ""
    """Phrases that look like negations but deny nothing."""
    but: str = ""
    """Words that begin a contrasting clause."""
    because: str = ""
    """Words that begin a clause and so end a negation."""
    joins: str = ""
    """"Or" and "nor": a negation of the first member of a list denies all members."""
    yes: str = ""
    no: str = ""
    """Answers to a yes-no question."""
    unknowing: str = ""
    """Phrases which say that the answer is unknown."""


LANGUAGES: Final[dict[str, Language]] = {
    "en": Language(
        before="""not|no|non|un|anti|zero|little|never|neither|nor|none|nothing|nobody|nowhere|without|cannot|cant|dont|doesnt|
            didnt|isnt|arent|wasnt|werent|wouldnt|couldnt|shouldnt|wont|aint|hasnt|havent|hardly|barely|scarcely|rarely|seldom|
            lack|lacks|lacked|lacking|lack of|devoid of|free of|free from|absence of|instead of|rather than|as opposed to|
            opposed to|other than|apart from|except|except for|excluding|unlike|far from|anything but|by no means|in no way|
            no longer|not at all|less than|deny|denies|denied|denying|doubt|doubts|doubtful|fail|fails|failed|failing|rule out|
            rules out|ruled out|exclude|excludes|avoid|avoids|opposite of|contrary to|unsure|uncertain|undecided|whether|
            refuse to call|false that|false to|wrong that|wrong to|incorrect that|incorrect to|impossible that|impossible to|
            unlikely that|unlikely to|improbable that""",
        idioms="""a little|no doubt|without doubt|without a doubt|without any doubt|no question|without question|no denying|
            cant deny|can't deny|cannot deny|not only|not just|not merely|not simply|no less|none other than|nothing other than|
            nothing if not|nothing but|nothing less than|can't help but|cannot help but|not to mention|no surprise|not surprising|
            not surprisingly|no wonder|no mistake|not least|if not|not a doubt""",
        but="but|however|nevertheless|nonetheless|still|yet|although|though|while|whereas|instead|rather",
        because="so|only|because|since|unless|just|therefore|simply",
        joins="or|nor",
        yes="yes|yeah|yep|yup",
        no="no|nope|nah|no way",
        unknowing="""idk|dunno|no audio|guess is as good|anyone's guess|anybody's guess|beats me|don't ask me|either way|
            clueless|who knows|lack context|lack the context|lack information|lack the information|don't have enough|
            do not have enough|not enough information|not enough context|not enough evidence|not enough data|
            insufficient information|insufficient context|insufficient evidence|unclear|unknown|undetermined|undeterminable|
            indeterminate|indeterminable|inconclusive|ambiguous|undefined|not clear|isn't clear|refuse to answer|
            yes and no""",
    ),
    "de": Language(
        before="""nicht|kein|keine|keinen|keinem|keiner|keines|nie|niemals|weder|ohne|kaum|nein|anstatt|statt|keineswegs|ob""",
        behind="nicht der fall",
        idioms="nicht nur|nicht zuletzt|ohne zweifel|ohne frage",
        but="aber|sondern|jedoch|obwohl|doch",
        because="weil",
        joins="oder|noch",
        yes="ja",
        no="nein|nee",
        unknowing="""kann es nicht sagen|kann ich nicht sagen|lässt sich nicht sagen|
            weiß nicht|weiß es nicht|weiss nicht|keine ahnung|unklar|unbekannt|schwer zu sagen|nicht feststellen|
            nicht bestimmen|nicht beurteilen""",
    ),
    "fr": Language(
        before="pas|jamais|aucun|aucune|sans|ni|guère|nullement|plutôt que|au lieu de|ne",
        idioms="pas seulement|sans doute|sans aucun doute",
        but="mais|cependant|pourtant|toutefois",
        because="parce que",
        joins="ou|ni",
        yes="oui",
        no="non",
        unknowing="sais pas|aucune idée|impossible de dire|impossible de savoir|difficile à dire|pas clair",
    ),
    "es": Language(
        before="no|ni|nunca|jamás|sin|ningún|ninguna|ninguno|tampoco|en vez de|en lugar de",
        idioms="no solo|no sólo|no solamente|sin duda",
        but="pero|sino|aunque|sin embargo",
        because="porque",
        joins="o|u|ni",
        yes="sí|si",
        no="no",
        unknowing="no sé|no lo sé|ni idea|no tengo idea|no está claro|difícil de decir|imposible saber",
    ),
    "it": Language(
        before="non|mai|né|senza|nessun|nessuna|nessuno|mica|invece di",
        idioms="non solo|senza dubbio",
        but="ma|bensì|però|tuttavia|anche se",
        because="perché",
        joins="o|né",
        yes="sì",
        no="no",
        unknowing="non so|non lo so|nessuna idea|non è chiaro|difficile dire|impossibile dire",
    ),
    "pt": Language(
        before="não|nem|sem|nenhum|nenhuma|jamais|nunca",
        idioms="não só|não apenas|sem dúvida",
        but="mas|porém|contudo",
        because="porque",
        joins="ou|nem",
        yes="sim",
        no="não",
        unknowing="não sei|não faço ideia|não está claro|difícil dizer|impossível dizer",
    ),
    "nl": Language(
        before="niet|geen|nooit|zonder|nauwelijks",
        idioms="niet alleen|zonder twijfel",
        but="maar|echter",
        because="omdat",
        joins="noch",
        yes="ja",
        no="nee",
        unknowing="weet niet|weet het niet|geen idee|onduidelijk|moeilijk te zeggen",
    ),
    "sv": Language(
        before="inte|ej|varken|aldrig|utan|ingen|inget|inga",
        idioms="inte bara|utan tvekan",
        but="men|utan|däremot",
        because="eftersom",
        joins="eller",
        yes="ja",
        no="nej",
        unknowing="vet inte|vet ej|ingen aning|oklart|svårt att säga",
    ),
    "da": Language(
        before="ikke|hverken|aldrig|uden|ingen|intet",
        idioms="ikke kun|uden tvivl",
        but="men",
        because="fordi",
        joins="eller",
        yes="ja",
        no="nej",
        unknowing="ved ikke|ved det ikke|ingen anelse|uklart|svært at sige",
    ),
    "nb": Language(
        before="ikke|verken|aldri|uten|ingen|ikke noe",
        idioms="ikke bare|uten tvil",
        but="men",
        because="fordi",
        joins="eller",
        yes="ja",
        no="nei",
        unknowing="vet ikke|vet det ikke|ingen anelse|uklart|vanskelig å si",
    ),
    "fi": Language(
        before="ei|eivät|eikä|ilman",
        idioms="ei vain|epäilemättä",
        but="vaan|mutta",
        because="koska",
        joins="tai|eikä",
        yes="kyllä|joo",
        no="ei",
        unknowing="en tiedä|ei tietoa|vaikea sanoa|epäselvää",
    ),
    "et": Language(
        before="ei|ega|mitte",
        idioms="mitte ainult",
        but="vaid|kuid|aga",
        because="sest",
        joins="või|ega",
        yes="jah",
        no="ei",
        unknowing="ei tea|raske öelda",
    ),
    "lv": Language(before="nav|nevis", yes="jā", no="nē", unknowing="nezinu"),
    "ru": Language(
        before="не|нет|ни|без|никогда|нельзя",
        idioms="не только|без сомнения",
        but="но|а|однако|хотя",
        because="потому что",
        joins="или|ни",
        yes="да",
        no="нет",
        unknowing="не знаю|без понятия|не могу определить|не могу сказать|неясно|непонятно|трудно сказать|сложно сказать",
    ),
    "uk": Language(
        before="не|ні|ні|без|ніколи",
        idioms="не тільки|без сумніву",
        but="але|а|проте",
        because="тому що",
        joins="або|чи|ні",
        yes="так",
        no="ні",
        unknowing="не знаю|важко сказати|незрозуміло",
    ),
    "pl": Language(
        before="nie|nigdy|bez|ani|żaden|żadna|żadne",
        idioms="nie tylko|bez wątpienia",
        but="ale|lecz|jednak",
        because="ponieważ",
        joins="lub|ani|albo",
        yes="tak",
        no="nie",
        unknowing="nie wiem|trudno powiedzieć|nie mam pojęcia",
    ),
    "cs": Language(
        before="ne|není|nikdy|bez",
        idioms="nejen|bez pochyby",
        but="ale|nýbrž",
        because="protože",
        joins="nebo|ani",
        yes="ano",
        no="ne",
        unknowing="nevím|těžko říct",
    ),
    "hr": Language(
        before="ne|nije|nikad|bez",
        idioms="ne samo|bez sumnje",
        but="nego|već",
        because="jer",
        joins="ili|niti",
        yes="da",
        no="ne",
        unknowing="ne znam|teško je reći",
    ),
    "sl": Language(
        before="ni|ne|brez",
        idioms="ne samo|brez dvoma",
        but="ampak|temveč|toda",
        because="ker",
        yes="da|ja",
        no="ne",
        unknowing="ne vem|težko rečem",
    ),
    "hu": Language(
        before="nem|nincs|sem",
        behind="nélkül",
        idioms="nem csak|nemcsak",
        but="hanem|azonban",
        because="mert",
        joins="vagy|sem",
        yes="igen",
        no="nem",
        unknowing="nem tudom|fogalmam sincs|nehéz megmondani",
    ),
    "el": Language(
        before="δεν|όχι|χωρίς|μη|ούτε",
        idioms="όχι μόνο|χωρίς αμφιβολία",
        but="αλλά|όμως",
        because="επειδή",
        joins="ή|ούτε",
        yes="ναι",
        no="όχι",
        unknowing="δεν ξέρω|δεν γνωρίζω|δύσκολο να πω",
    ),
    "tr": Language(
        behind="değil|değildir|yok",
        but="ama|fakat|ancak",
        because="çünkü",
        joins="veya|ya da",
        yes="evet",
        no="hayır",
        unknowing="bilmiyorum|fikrim yok|belli değil|belirsiz",
    ),
    "ar": Language(
        before="ليس|ليست|لست|ليسوا|غير|لا|لم|لن|بدون|دون|بلا|عدم",
        idioms="بلا شك|لا شك|ليس فقط",
        but="لكن|بل|ولكن",
        because="لأن|لانه",
        joins="أو|ولا",
        yes="نعم",
        no="لا|كلا",
        unknowing="لا أعرف|لا أدري|لا أعلم|غير واضح|من الصعب القول",
    ),
    "fa": Language(
        before="نه|بی|بدون",
        behind="نیست|نیستند|ندارد",
        idioms="نه تنها|بدون شک",
        but="اما|ولی|بلکه",
        because="چون",
        joins="یا|نه",
        yes="بله",
        no="خیر|نه",
        unknowing="نمی‌دانم|نمی دانم|مشخص نیست",
    ),
    "he": Language(
        before="לא|אין|אינו|אינה|אינם|בלי|איננו|איננה|ללא",
        idioms="לא רק|ללא ספק|אין ספק",
        but="אבל|אלא|אך",
        because="כי",
        joins="או|ולא",
        yes="כן",
        no="לא",
        unknowing="לא יודע|לא יודעת|אין לי מושג|לא ברור|קשה לומר",
    ),
    "hi": Language(
        before="नहीं|नही|न|बिना",
        behind="नहीं|नही",
        idioms="न केवल|न सिर्फ",
        but="लेकिन|बल्कि|परंतु",
        because="क्योंकि",
        joins="या|न",
        yes="हाँ|हां",
        no="नहीं",
        unknowing="नहीं पता|पता नहीं|नहीं जानता|नहीं जानती",
    ),
    "ta": Language(behind="இல்லை|அல்ல|இல்லாத", but="ஆனால்", joins="அல்லது", yes="ஆம்", no="இல்லை", unknowing="தெரியவில்லை"),
    "mn": Language(behind="биш|үгүй", but="харин", joins="эсвэл", yes="тийм", no="үгүй", unknowing="мэдэхгүй"),
    "id": Language(
        before="tidak|bukan|bukanlah|tanpa|belum",
        idioms="tidak hanya|bukan hanya|tanpa ragu",
        but="tetapi|tapi|melainkan|namun",
        because="karena",
        joins="atau|maupun",
        yes="ya",
        no="tidak|bukan",
        unknowing="tidak tahu|tidak jelas|sulit dikatakan",
    ),
    "vi": Language(
        before="không|chẳng|chưa|không phải",
        idioms="không chỉ|không nghi ngờ",
        but="nhưng|mà",
        because="vì",
        joins="hoặc",
        yes="có|vâng",
        no="không",
        unknowing="không biết|không rõ|khó nói",
    ),
    "cy": Language(before="nid|ddim", but="ond"),
    "zh": Language(
        before="""不|没|沒|没有|沒有|无|無|未|並非|并非|绝非|絕非|毫无|毫無|缺乏|缺少|谈不上|談不上|称不上|否认|否認|否定|排除|
            而非|是否|与其|與其|不是|非""",
        idioms="""不仅|不僅|不但|不只|不光|不单|不單|不止|非常|除非|无疑|無疑|毫无疑问|毫無疑問|无论|無論|无比|無比|无非|不错|不錯|
            没错|沒錯|不禁|不得不|不愧|不断|不斷|不少|不妨|差不多|对不起|對不起|不好意思|未来|未來|不同|不管|不可否认|不可否認|
            无可否认|不言而喻|忍不住|不由得|了不起|说不定|說不定|毫不掩饰|毫不掩飾|是非""",
        but="但|但是|而是|可是|然而|不过|不過|不如|而",
        because="因为|因為|所以|因此",
        joins="或|或者|还是|還是|也不",
        yes="是|是的|对|對",
        no="否|不|不是|不对|不對|没有|沒有",
        unknowing="""不知道|不清楚|无法确定|無法確定|无法判断|無法判斷|不能确定|不能確定|难以判断|難以判斷|说不清|說不清|不明|
            不得而知|未知""",
    ),
    "ja": Language(
        behind="""ない|なかった|なく|ません|なし|無し|無い|無く|とは言えず|られず|というより|というよりも|よりも|より""",
        idioms="""かもしれない|かもしれません|に違いない|に違いありません|間違いない|間違いなく|しかない|ほかならない|だけでなく|
            だけではなく|だけじゃなく|ばかりでなく|のみならず|少ない|少なく|危ない|とんでもない|もったいない|仕方ない|なければ|
            なくては""",
        but="けど|けれど|しかし|一方|ですが",
        joins="または|あるいは|もしくは",
        yes="はい|ええ",
        no="いいえ|いや",
        unknowing="""わかりません|分かりません|わからない|分からない|判断できません|判断できない|不明""",
    ),
    "ko": Language(
        behind="않|아니|아닌|아닙|아닐|없|못하|못한|못했|모르|보다",
        idioms="뿐만 아니라|뿐 아니라|틀림없|의심할 여지 없|어쩔 수 없",
        but="지만|하지만|그러나",
        joins="또는|혹은",
        yes="예|네",
        no="아니요|아니오|아뇨|아니",
        unknowing="모르겠|모릅니다|알 수 없|판단할 수 없",
    ),
    "th": Language(
        before="ไม่|มิได้|ไร้|ปราศจาก",
        idioms="ไม่เพียง|ไม่ใช่แค่|ไม่แน่|ไม่ต้องสงสัย",
        but="แต่|ทว่า",
        because="เพราะ",
        joins="หรือ",
        yes="ใช่",
        no="ไม่|ไม่ใช่",
        unknowing="ไม่รู้|ไม่ทราบ|ไม่แน่ชัด",
    ),
    "lo": Language(before="ບໍ່", but="ແຕ່", joins="ຫຼື", no="ບໍ່", unknowing="ບໍ່ຮູ້"),
    "km": Language(before="មិន|គ្មាន|ពុំ", but="ប៉ុន្តែ|តែ", joins="ឬ", yes="បាទ", no="ទេ", unknowing="មិនដឹង"),
    "my": Language(behind="ဘူး|မဟုတ်", but="ဒါပေမဲ့|ဒါပေမယ့်", joins="သို့မဟုတ်", unknowing="မသိ"),
}


def entries(text: str) -> tuple[str, ...]:
    """The entries of one field."""
    return tuple(entry.strip() for entry in text.replace("\n", "").split("|") if entry.strip())


def _all(field: str) -> tuple[str, ...]:
    return tuple(entry for language in LANGUAGES.values() for entry in entries(getattr(language, field)))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _each(heads: str, words: str) -> tuple[str, ...]:
    return tuple(f"{head} {word}" for head in entries(heads) for word in entries(words))


FORWARD, BACKWARD, IDIOMS = _all("before"), _all("behind"), _all("idioms")
BUT, BREAKS, JOINS = _all("but"), (*_all("but"), *_all("because")), _all("joins")
YES, NO = _all("yes"), _all("no")
UNABLE = _words("not no never nobody none neither cannot cant unable hard difficult impossible")
KNOWING = entries(
    """know|knows|knowing|known|tell|telling|idea|clue|determine|determined|determinable|decide|decided|deciding|judge|ascertain|
    assess|assessed|listen|access|process|help|answer|hear anything|hear the|hear you|hear any audio"""
)
"""Shortly after a word of UNABLE or one in n't they say that the answer is unknown: nobody can tell."""
_CANNOT = "can't|cannot|cant|can not|couldn't|could not|unable to|not able to|impossible to|not possible to|hard to|difficult to"
UNKNOWING = (*_all("unknowing"), *_each(_CANNOT + "|isn't possible to|no way to", "say"))
SOFT = _words("so only just simply rather yet still instead")
"""Words that break a clause only after a comma, or after something denied: it is not just happy."""
CONCEDES = _words("although though while whilst obwohl aunque")
"""Words that begin a part which ends at the next sign: although I cannot tell for sure, it is sad."""
AND = _words("and und et y e och og и і ve dan và")
MAYBE = _words("maybe perhaps possibly could might may vielleicht quizás quizá forse talvez")
MERELY = frozenset(
    {"not only", "not just", "not merely", "not simply", "nicht nur", "pas seulement", "no solo", "non solo"}
)
"""What follows is stated too; if it is part of a longer label, that label is the answer: very happy, not just happy."""
ONCE = (
    *_each(
        "first|at first|initially|originally|first i|at first i|initially i|i first|i initially",
        "thought|guessed|assumed",
    ),
    *entries("""at first|initially|originally|first glance|first impression|first instinct|going to say|would have said|
        on the surface|zuerst|auf den ersten blick|anfangs|d'abord|à première vue|al principio|a primera vista"""),
)
"""A "but" after a clause with one of them withdraws that clause: I first thought it was sad, but it is angry."""
OFFERS = (
    *_each("options|choices|labels|categories|classes|possibilities|alternatives|candidates", "are|include"),
    *entries("""options|choices|labels|categories|classes|possibilities|alternatives|candidates|between|out of|one of|choose from|
        choose|optionen|möglichkeiten|auswahl|zwischen|choix|opciones|entre|opzioni|tra|opções|选项|選項|選択肢|선택지"""),
)
"""Two or more labels after one of them are possible answers: the options are happy, sad."""
ANSWERS = entries("answer|antwort|réponse|respuesta|risposta|resposta|答案|回答|답|정답")
"""The answer follows the first of them and a colon or "is"."""
LEADS = ("final answer", "final label", "final decision")
"""The answer follows the last of them, whatever is before it."""
EXCEPTIONS = frozenset({"other than", "except", "except for", "apart from"})
"""After a negation they cancel it: nothing other than joy."""
WIDE = frozenset({"neither", "none"})
"""They deny a whole list, however its members are separated, until an "or" or "nor" before the last one."""
COMPARED = {
    "than": _words("more rather"),
    "als": _words("eher mehr"),
    "que": _words("plutôt más"),
    "che": _words("più"),
}
"""Word -> the earlier words with which it denies: more happy than sad."""
UNSURE = _words(
    """
    hardly barely scarcely rarely seldom doubt doubts doubtful unlikely unsure uncertain undecided whether ob kaum 是否
    sure certain clear know tell determine say confident enough necessarily always entirely completely fully very too especially
    sicher unbedingt immer sûr toujours seguro siempre
    """
)
"""Negators, and words in the scope of one, with which a denial does not imply the opposite."""
OPENERS = _words(
    """
    think believe say call consider describe feel find that as classify label see hear guess suppose claim argue judge deem
    regard agree dass glaube finde que creo che penso
    """
)
"""They begin a clause that is still denied."""
VERBS = _words(
    """
    is are was were be being been sounds seems appears sound seem appear feels has have does do did would could can might may
    shows expresses conveys means ist sind war klingt wirkt est sont semble es son está parece è sono sembra
    """
)
SUBJECTS = _words(
    """
    it he she they this that there i we you speaker person man woman voice tone these those
    er sie es sprecher il elle ils elles on él ella ellos lui lei
    """
)
OTHERS = SUBJECTS - _words("i we it this that there es il on") | _words("speaker's he's she's they're customer caller")
"""Here another person does not know, not the one who answers: he has no idea."""
CONTRACTIONS = _words(
    "it's he's she's they're that's there's i'd i'm i'll he'd she'd we'd you'd this's they'd speaker's c'est"
)
"""A subject and its verb."""
AUXILIARIES = VERBS | _words(
    """had should will must really clearly certainly definitely simply probably just also label word emotion
    sentiment tone answer mood feeling reading"""
)
"""Words that may be between a subject and its negation: sarcasm is certainly absent."""
PREDICATES = _words(
    """
    absent missing lacking nonexistent unlikely excluded inappropriate wrong incorrect false impossible inapplicable improbable
    doubtful negligible nil zero 0 none negative
    """
)
"""They deny their subject (sarcasm is absent), and as a separate clause the one before (sarcastic: false)."""
FILLERS = _words(
    """
    really at all quite exactly so think believe it is i do does the case here this that he she they speaker be way chance of
    course absolutely definitely certainly sure detected present found applicable evident any in clip audio are was did am we
    could might may would can maybe perhaps possibly
    """
)
"""A clause of these and a negation denies the statement or question before it: I don't think so."""
VALUES = frozenset(NO) | _words("false 0")
"""Synonyms of a label that deny the key before them: sarcastic: no."""
PREFIXES = frozenset({"un", "anti"})
"""Negations only if a hyphen joins them to the denied word."""
CLAUSE_STARTS = _words("他 她 它 这 這 该 該")
"""They begin a Chinese clause, whatever its verb."""
HEADS = _words(
    """
    answer final label response result output prediction classification category the is my ans option 答案 回答 結果 结果 답 정답
    antwort réponse respuesta risposta resposta
    """
)
"""Words that may be before an answer at the beginning of a text: the final answer is."""
CLAUSE_HEADS = SUBJECTS | VERBS | _words("the a an not isn't doesn't don't aren't wasn't") | CONTRACTIONS
"""Words that may follow a "no" that is an answer and not an article: no the speaker is, no it isn't."""
NAMED = _words("a an the hard clear definite firm big strong resounding ein un klares")
"""Words before a "no" that is a noun: it's a no from me."""
ELISIONS = _words("l d j m t s n c qu jusqu lorsqu puisqu quoiqu un dell all nell dall sull quest")
"""Words that lose their vowel before another word: l'ironie."""
NO_NOUNS = _words("is was because seems would must best or and")
"""After "A" they show that it is a letter and not an article."""
