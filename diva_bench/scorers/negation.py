"""Words that deny, words that end what is denied, and words that look as if they denied: the tables of the label parser.

Closed tables, by language, signed by `VERSION`. A word that means something else in another language is left out (nu, tak,
en, noch). Every entry is compared as whole tokens, see `label_parser.tokens`.
"""

from __future__ import annotations

VERSION = 1
"""Bumped when an entry comes or goes."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _entries(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.replace("\n", "").split("|"))


FORWARD = _entries(
    """
    not|no|non|un|anti|zero|little|never|neither|nor|none|nothing|nobody|nowhere|without|cannot|cant|dont|doesnt|didnt|isnt|arent|wasnt|
    werent|wouldnt|couldnt|shouldnt|wont|aint|hasnt|havent|hardly|barely|scarcely|rarely|seldom|lack|lacks|lacked|lacking|
    lack of|devoid of|free of|free from|absence of|absent|instead of|rather than|as opposed to|opposed to|other than|
    apart from|except|except for|excluding|unlike|far from|anything but|by no means|in no way|no longer|not at all|less than|
    deny|denies|denied|denying|doubt|doubts|doubtful|unlikely|fail|fails|failed|failing|rule out|rules out|ruled out|exclude|
    excludes|avoid|avoids|opposite of|contrary to|incorrect|false|wrong|impossible|unclear|unsure|uncertain|undecided|whether|
    refuse to call|
    nicht|kein|keine|keinen|keinem|keiner|keines|nie|niemals|weder|ohne|kaum|nein|anstatt|statt|keineswegs|ob|
    pas|jamais|aucun|aucune|sans|ni|guère|nullement|plutôt que|au lieu de|ne|
    nunca|jamás|sin|ningún|ninguna|ninguno|tampoco|en vez de|en lugar de|
    mai|né|senza|nessun|nessuna|nessuno|mica|invece di|
    não|nem|sem|nenhum|nenhuma|jamais|
    niet|geen|nooit|zonder|nauwelijks|
    inte|ej|aldrig|utan|ingen|inget|inga|ikke|aldri|uten|uden|intet|
    не|нет|ни|без|никогда|нельзя|ні|ніколи|
    nigdy|bez|ani|żaden|żadna|żadne|není|nikdy|nije|nem|nincs|sem|
    δεν|όχι|χωρίς|μη|ούτε|
    ei|pole|ilma|eivät|ilman|nav|brez|
    ليس|ليست|لست|ليسوا|غير|لا|لم|لن|بدون|دون|بلا|عدم|نه|بی|
    לא|אין|אינו|אינה|אינם|בלי|איננו|איננה|
    नहीं|नही|न|मत|बिना|
    tidak|bukan|bukanlah|tanpa|belum|không|chẳng|chưa|không phải|nid|ddim|heb|hapana|
    不|没|沒|没有|沒有|无|無|未|並非|并非|绝非|絕非|毫无|毫無|缺乏|缺少|谈不上|談不上|称不上|否认|否認|否定|排除|而非|是否|
    与其|與其|不是|非|
    ไม่|มิได้|ไร้|ปราศจาก|ບໍ່|មិន|គ្មាន|ពុំ
    """
)
"""What follows is denied, up to the end of the clause."""

UNSURE = _words(
    """
    hardly barely scarcely rarely seldom doubt doubts doubtful unlikely unclear unsure uncertain undecided whether ob kaum 是否
    sure certain clear know tell determine say confident enough necessarily always entirely completely fully very too especially
    sicher unbedingt immer sûr toujours seguro siempre
    """
)
"""Negators, and words in the scope of one, with which a denial says nothing of the contrary."""

BACKWARD = _entries(
    """
    değil|değildir|yok|نیست|نیستند|ندارد|இல்லை|அல்ல|இல்லாத|биш|үгүй|nélkül|nicht der fall|
    ない|なかった|なく|ません|なし|無し|無い|無く|とは言えず|られず|というより|というよりも|よりも|より|
    않|아니|아닌|아닙|아닐|없|못하|못한|못했|모르|보다|ဘူး|မဟုတ်|ទេ
    """
)
"""What precedes is denied, back to the beginning of the clause."""

IDIOMS = _entries(
    """
    a little|
    no doubt|without doubt|without a doubt|without any doubt|no question|without question|no denying|cant deny|can't deny|
    cannot deny|not only|not just|not merely|not simply|no less|none other than|nothing other than|nothing if not|
    nothing but|nothing less than|can't help but|cannot help but|not to mention|no surprise|not surprising|
    not surprisingly|no wonder|no mistake|not least|if not|not a doubt|
    nicht nur|nicht zuletzt|ohne zweifel|ohne frage|pas seulement|sans doute|sans aucun doute|no solo|no sólo|no solamente|
    sin duda|non solo|senza dubbio|não só|não apenas|sem dúvida|niet alleen|zonder twijfel|inte bara|не только|без сомнения|
    nie tylko|bez wątpienia|
    不仅|不僅|不但|不只|不光|不单|不單|不止|非常|除非|无疑|無疑|毫无疑问|毫無疑問|无论|無論|无比|無比|无非|不错|不錯|没错|沒錯|
    不禁|不得不|不愧|不断|不斷|不少|不妨|差不多|对不起|對不起|不好意思|未来|未來|不同|不管|不可否认|不可否認|无可否认|不言而喻|
    忍不住|不由得|了不起|说不定|說不定|毫不掩饰|毫不掩飾|是非|
    かもしれない|かもしれません|に違いない|に違いありません|間違いない|間違いなく|しかない|ほかならない|だけでなく|だけではなく|
    だけじゃなく|ばかりでなく|のみならず|少ない|少なく|危ない|とんでもない|もったいない|仕方ない|なければ|なくては|
    뿐만 아니라|뿐 아니라|틀림없|의심할 여지 없|어쩔 수 없|
    ไม่เพียง|ไม่ใช่แค่|ไม่แน่|ไม่ต้องสงสัย
    """
)
"""Neither of the two: they say it is so, or say nothing of it."""

BREAKS = _entries(
    """
    but|however|so|only|although|though|while|whereas|because|since|yet|instead|rather|unless|just|therefore|simply|
    aber|sondern|jedoch|obwohl|weil|mais|cependant|pero|sino|aunque|ma|bensì|però|anche se|mas|porém|maar|men|utan att|
    но|а|однако|хотя|але|ale|lecz|αλλά|ama|fakat|لكن|بل|ولكن|اما|ولی|אבל|אלא|लेकिन|बल्कि|परंतु|tetapi|melainkan|namun|nhưng|mà|
    但|但是|而是|可是|然而|不过|不過|因为|因為|所以|因此|不如|而|けど|けれど|しかし|一方|지만|하지만|แต่|เพราะ|ทว่า
    """
)
"""Here a new clause begins: nothing before it denies what comes, nothing behind it denies what was."""

SOFT = _words("so only just simply rather yet instead")
"""Those of them that break a clause only behind a comma, or where something has been denied: it is not just happy."""

LISTS = _words("or nor oder noch ou ni o u e né of eller или или lub atau hoặc 或 และ หรือ")
"""Between members of a list: what denies the first denies all."""
EXCEPTIONS = frozenset({"other than", "except", "except for", "apart from"})
"""Behind a negation they lift it: nothing other than joy."""
WIDE = frozenset({"neither", "none", "weder", "nor", "ni"})
"""They deny a whole list, however its members are parted."""
OPENERS = _words(
    """
    think believe say call consider describe feel find that as classify label see hear guess suppose claim argue judge deem
    regard agree dass glaube finde que creo che penso
    """
)
"""Behind them a clause begins that is still denied."""
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
CONTRACTIONS = _words(
    "it's he's she's they're that's there's i'd i'm i'll he'd she'd we'd you'd this's they'd speaker's c'est"
)
"""A subject and its verb."""
AUXILIARIES = VERBS | _words(
    "had should will must really clearly certainly definitely simply probably just also label word emotion"
)
"""What may stand between a subject and what denies it: sarcasm is certainly absent."""
PREDICATES = _words(
    """
    absent missing lacking nonexistent unlikely excluded inappropriate wrong incorrect false impossible inapplicable improbable
    doubtful negligible nil zero
    """
)
"""They deny their subject: sarcasm is absent."""
FILLERS = _words(
    """
    really at all quite exactly so think believe it is i do does the case here this that he she they speaker be way chance of
    course absolutely definitely certainly sure detected present found applicable evident any in clip audio are was did am we
    """
)
"""A clause of these and a negation denies what was said or asked before it: I don't think so."""

PREFIXES = frozenset({"un", "anti"})
"""Negations only where a hyphen joins them to what they deny."""
CLAUSE_STARTS = _words("他 她 它 这 這 该 該")
"""Here a Chinese clause begins, whatever its verb."""

YES = frozenset(
    _entries(
        """
    yes|yeah|yep|yup|true|correct|affirmative|ja|oui|sí|si|sì|sim|да|так|evet|はい|ええ|是|是的|对|對|예|네|ใช่|نعم|بله|हाँ|हां|ya|có|
    כן|ναι|igen|kyllä|jah|jā|tak|da
    """
    )
)
NO = frozenset(
    _entries(
        """
    no|nope|nah|false|none|not|negative|absent|zero|0|nein|non|não|nee|nej|nei|нет|ні|nie|hayır|いいえ|いや|否|不|不是|不对|不對|没有|
    沒有|아니요|아니오|아뇨|아니|ไม่|ไม่ใช่|لا|خیر|नहीं|tidak|bukan|không|לא|όχι|nem|ei|ne|hapana
    """
    )
)
"""Answers by themselves."""
PLAIN_LABELS = _words("false negative absent none incorrect 0")
"""Denials that are a label wherever they stand: the statement is false because ..., and not "no" as in "no sarcasm"."""
HEADS = _words(
    """
    answer final label response result output prediction classification category the is my ans option 答案 回答 結果 结果 답 정답
    antwort réponse respuesta risposta resposta
    """
)
"""What may stand before an answer that comes first: the final answer is."""
CLAUSE_HEADS = SUBJECTS | VERBS | _words("the a an not isn't doesn't don't aren't wasn't") | CONTRACTIONS
"""What goes on behind a "no" that is an answer and not an article: no the speaker is, no it isn't."""

ELISIONS = _words("l d j m t s n c qu jusqu lorsqu puisqu quoiqu un dell all nell dall sull quest")
"""Words that lose their vowel before another one: l'ironie."""
NO_NOUNS = _words("is was because seems would must best or and")
"""Behind "A" they show that it is a letter and no article."""
