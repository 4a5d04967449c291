"""Remove what a chat model writes around its answer, before the label parser reads the text.

The rules are for English, except for signs. In doubt more is removed: a text without a label is unparsed, which is
counted and shown.

1.  Signs: what is struck out (~~positive~~), crossed (❌) or left unticked ("[ ] positive").
2.  Courtesy: offers, regrets, and remarks of the model about itself ("I'd be happy to help", "to be honest", "as a
    neutral AI").
3.  No audio: the model says that it has no audio, cannot hear, or asks for the file. Then only a part after "but"
    counts.
4.  Opinions of others, and clauses that deny their content: "others say ...", "you might expect ...", "I disagree that
    ...".
5.  Minor parts: "although ..." in front, "(initially ...)", "mostly negative, with a hint of positive".
6.  Questions without an answer after them ("Is it positive?").
7.  Withdrawn statements: the part of a paragraph before "But it is not.", "It is the opposite.", "I disagree.".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from diva_bench.scorers import negation
from diva_bench.scorers.label_tokens import answer_start, tokens
from diva_bench.text import APOSTROPHES


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_CROSS: Final = "❌✗✘✖✕❎🚫⛔☐"
_TICK: Final = "✅✓✔☑"
_SIGNS = _any(
    r"~~[^~]{1,200}~~",
    r"<(?:s|del|strike)>[^<]{0,200}</",
    rf"^[^{_CROSS}{_TICK}\n]{{1,200}}(?<=\S)[ \t]*[{_CROSS}]\W*?$",  # positive ❌
    rf"(?:[{_CROSS}]|\[ ?\]|\( \))[^{_CROSS}{_TICK}\n\[(]*",  # ❌ positive; [ ] positive
)
_SIGNS = re.compile(_SIGNS.pattern, re.IGNORECASE | re.MULTILINE)

_I = r"\b(?:(?:i|we)'(?:d|ll|m|re)|(?:i|we) (?:would|will|am|are|was|were))(?: be)?"
_HOW = r"(?: (?:so|very|more than|really|always|truly|quite|too|only|just|pretty|absolutely|rather)){0,3}"
_FELT = _HOW + r" (?!not\b|no\b|un|in|able\b|doubt|clueless|hard)\w+"
_DOING = r"""(?:help|assist|say|hear|report|inform|tell|share|analy[sz]e|do|try|see|know|listen|answer|explain|provide|classify|
announce|admit|confess|learn|read|meet|serve|support|take|give|look|work|check|let|note|discuss|continue)""".replace(
    "\n", ""
)
_OPEN = (
    r"(?:(?<![^\n])|(?<=[.,;:!?(])|(?<=[.,;:!?(] )|(?<=but )|(?<=and )|(?<=so ))"  # a sentence or an aside begins here
)
_COURTESY = _any(
    rf"{_I}{_FELT} to {_DOING}\b",
    rf"{_I}{_FELT}(?= (?:that|you|your)\b)",
    r"\bi'?m (?:pretty |quite |absolutely )?positive(?= (?:it|this|the|he|she|they|there|we)\b)",
    rf"{_OPEN}[*_]*(?:happy|glad|sad) to {_DOING}\b|{_I} (?:\w+ )?(?:honest|frank|sincere|serious)(?: (?:with"
    rf"|about) (?:you|this|it))?",
    r"\blet(?:'s| us| me) (?:stay|be|keep|remain) \w+|\bstay positive\b",
    r"\bas an? (?:[\w-]+ ){0,3}(?:a\.?i\.?|assistant|language model|model|(?:chat)?bot|machine|llm)(?! \w+ of)\b",
    rf"{_OPEN}to be (?:\w+ )?(?:honest|frank|sincere|serious|fair|clear|sure|neutral)\b",
    r"\bif i(?:'m| am|(?: may| can)? be)(?: being)?(?: \w+)? (?:honest|sincere|serious|frank)\b",
    r"\bin all (?:honesty|sincerity|seriousness)\b|\ball joking aside\b|\bno joke\b(?=[,.!])",
    r"\b(?:my |our )?(?:most )?(?:sincere|sincerest|honest|serious) (?:apolog\w+|thanks|regrets?|condolences|wishes"
    r"|opinion|guess|mistake)\b",
    r"\b(?:yours sincerely|sincerely yours|sincerely,)",
    r"\bhappy (?:new year|birthday|christmas|holidays?|easter|weekend|anniversary)\b|\bhave a \w+ (?:day|one|week(?:end)?"
    r"|time)\b",
    r"\bon a (?:more |less )?\w+ note\b|\bon the (?:positive|negative|funny|sad|serious) side\b",
    r"\b(?:it's |it is |how |that's )?\w+ (?:that )?you (?:should )?(?:ask|mention|say)(?:ed)?\b",
    r"\b(?:that's|that is|what) an? \w+ (?:question|request|task)\b|\bfunny enough\b",
)

_MEDIA = r"(?:audio|sound|recording|file|clip|attachment|speech|voice|upload|video|message)s?"
_THE = r"(?:(?:an?|any|the|your|this|that|its?|some|me|us|again|to|with|of) ){0,4}(?:\w+ ){0,2}?"
_NOT = (
    r"(?:can ?not|can't|could ?n(?:o|')t|could not|do not|don't|did not|didn't|have not|haven't|won't"
    r"|unable to|not able to|failed to)"
)
_HEAR = r"(?:hear|listen to|play|open|access|process|catch|receive|load|download|make out)"
_LEFT = r"(?: clearly| well| properly| at all| right now)?(?= (?:but|and|so|because|as|at|from)\b(?! \w+ \w+\.)|\s*[^\w\s]|\s*\Z)"
_UNHEARD = _any(
    rf"\b(?:i|we)\b(?:'m| am| was| were| really| still| just| simply){{0,3}} {_NOT} (?:\w+ )?{_HEAR} (?:(?:it|that|this"
    rf"|anything|you|what you \w+){_LEFT}|you\b|{_THE}{_MEDIA}\b(?! of))",
    rf"\b(?:i|we) {_NOT} (?:have|see|find|get|detect|receive) {_THE}{_MEDIA}\b(?! of)",
    r"\bi (?:did not|didn't|could not|couldn't) (?:quite )?(?:catch|get|understand) (?:that|it|you|what)\b",
    rf"\b{_MEDIA}(?: \w+){{0,2}} (?:(?:did|does|is|was|has|could|would|can|will) ?not|can't|won't|(?:did|does|is|was|has"
    rf"|could|would)n't|failed to) (?:been |be |seem to )?(?:open|load|play|attach|upload|come|work|arriv|avail|includ"
    rf"|provid|heard|access|receiv|found|process|there|support)",
    rf"\b{_MEDIA} (?:is|was|seems|appears|seems to be|appears to be) (?:missing|empty|silent|corrupt|unavailable"
    rf"|inaudible|broken|blank|damaged|unreadable)",
    rf"\bno {_MEDIA}(?: {_MEDIA})?(?: was| is| has been| were)? (?:attached|provided|uploaded|included|received|found"
    rf"|available|given)\b",
    rf"\bthere(?:'s| is| was) no (?:audio|recording|file|clip|attachment)\b|\bi (?:have no|lack) (?:\w+ )?(?:{_MEDIA}"
    rf"|ears|hearing)\b",
    r"\byou (?:did not|didn't|have not|haven't|forgot to) (?:attach|upload|provide|include|send|share|give)",
    rf"\b(?:please|kindly|(?:could|can|would|will) you|if you|once you|when you)(?: please| kindly| can"
    rf"| could){{0,2}} (?:up-?load|provide|attach|(?:re-?)?send|(?:re-?)?share|paste|re-?upload|submit|include|give"
    rf"|supply) {_THE}(?:{_MEDIA}|it|one)\b",
    r"\b(?:please|kindly|(?:could|can|would) you)(?: please)? (?:try again|repeat|speak|say (?:that|it) again)\b",
    r"\bi (?:only|just) (?:understand|speak|support|read|handle|process)\b",
    r"\bi (?:have no|don't have|do not have|can't have|hold no) (?:an? |any |personal )*(?:opinion|feeling|emotion"
    r"|preference|view)s?\b",
    rf"\b(?:waiting for|ready for|send me|upload) (?:the|your) {_MEDIA}\b",
)
_QUOTED = re.compile(r"[\"“„][^\"“”\n]{0,300}[\"”]|«[^»\n]{0,300}»")
_BUT = re.compile(r"\b(?:but|however|nevertheless|nonetheless)\b", re.IGNORECASE)
_MAYBE = re.compile(r"\b(?:" + "|".join(sorted(negation.MAYBE)) + r")\b", re.IGNORECASE)

_REST = r"(?:(?!\b(?:but|however|yet)\b|,\s*(?:now|it|this|that|the|he|she|i|so|we)\b)[^.;!?\n])*"
"""Up to the end of the sentence, or to the model's own statement."""
_YES_NO = r"(?:yes|no|yeah|yep|nope|nah|yup)\b"
_SAYS = r"(?:said|says?|answer(?:s|ed)?|repl(?:y|ies|ied)|respond(?:s|ed)?|shout(?:s|ed)?|whisper(?:s|ed)?|told \w+|tells \w+)"
_THINK = (
    r"(?:say|think|call|expect|assume|guess|believe|imagine|suppose|argue|claim|hear|describe|consider"
    r"|label|read|take|find)(?:s|d|ed)?"
)
_SOME = (
    r"(?:others|some(?: people| listeners| readers| annotators| folks)?|many(?: people)?|most people"
    r"|people|few(?: people)?|someone|somebody|critics)"
)
_OTHERS = _any(
    rf"\b(?:he|she|they|the (?!answer|label|response|result|evidence|data)\w+|some(?:one|body)|customer"
    rf"|speaker) (?:\w+ly |just |then |also )?{_SAYS}[,:]? [\"'“«]?{_YES_NO}[\"'”»]?",
    rf"\b{_SOME}(?: (?:might|may|could|would|will|did|do|also|even))* {_THINK}\b{_REST}",
    rf"\b(?:you|one|we|i) (?:might|may|could|would) (?:have )?(?:\w+ )?(?:expect|think|assume|guess|believe|imagine"
    rf"|suppose)(?:ed|d)?\b(?! so\b){_REST}(?<!\bi would guess)",
    rf"\bi (?:can |could )?(?:see|understand) (?:why|how) (?:some|any|one|you|people|others|it|that){_REST}",
    rf"\b(?:i|we) (?:strongly |would )?disagree (?:that|with){_REST}",
    rf"\b(?:mistake|stretch|error|exaggeration|overstatement|misleading|absurd|inaccurate) to (?:call|say|describe|label"
    rf"|consider|read|see|classify|claim|think){_REST}|\b(?:hard|difficult) to (?:call|label|consider|classify){_REST}",
    rf"\b(?:pretend(?:s|ed|ing)?|feign(?:s|ed|ing)?|fak(?:es|ed|ing)|(?:it|he|she|they|this|that|speaker|tone"
    rf"|mood) used to be|no longer){_REST}",
    r"\b\w+ ?(?:/|\bor\b|-or-|\band\b) ?\w+[ -](?:question|task|choice)s?\b",
)
_HEDGED = re.compile(
    r"\bi (?:would|could|might|may) (?:have )?(?:\w+ )?(?:guess|think|assume|believe|suppose|imagine|expect)", re.I
)

_MINOR = _any(
    r"(?<![^\n.!?])\s{0,3}\b(?:although|though|even though|while|whilst|whereas|despite|even if)\b[^.,;!?\n]{1,200},",
    r"\((?=[^)]{0,200}\b(?:initially|originally|at first|first|earlier|previously)\b)[^)]{0,200}\)",
)
_MOSTLY = re.compile(
    r"\b((?:mostly|mainly|primarily|predominantly|largely|overwhelmingly|chiefly|overall)\b[^.;,\n]{1,80}?),?"
    r"(?: but| though| although| albeit)?(?: with| there is| there's)? (?:an?|some|slight|occasional)(?: slight| small"
    r"| faint| little)? "
    r"(?:hint|touch|trace|bit|note|tinge|dash|undertone|overtone|moment|element)s? of\b[^.;\n]*",
    re.IGNORECASE,
)
_ANSWERED = "|".join(
    re.escape(word) for word in sorted({*negation.YES, *negation.NO}, key=lambda word: (-len(word), word))
)
_QUESTION = re.compile(
    r"(?:(?<![^\n])|(?<=[.!?]\s))[ \t\"'¿*_]*(?:is|are|was|were|does|do|did|can|could|would|should|will|has|have|what"
    r"|which|how|"
    r"why|who|am|might)\b[^.!?\n]{1,300}\?{1,5}(?!\W{0,9}(?:(?:"
    + _ANSWERED
    + r")(?!\w)|(?:i|not|never|maybe|perhaps|possibly|it|he|she|"
    r"this|that|absolutely|definitely|certainly|of|sure|un\w+|likely|nothing|nobody|hard|who|could|might|hardly)\b))",
    re.IGNORECASE,
)
_IT = r"(?:it|this|that|he|she|they|the speaker)"
_TAKEN_BACK = re.compile(
    r"(?:(?<=[.!;,\n])|(?<=[.!;,\n] )|(?<=[—–] ))(?:but|however,?|yet|still,?|well,?|except|and)?,? ?(?:in fact,? "
    r"|actually,? |really,? )?"
    rf"(?:(?:i|we) (?:\w+ )?(?:disagree|beg to differ|don't(?: agree)?|do not(?: agree)?)|"
    rf"{_IT}(?:'s| is| was) (?:\w+ )?(?:the |its |an? )*(?:opposite|reverse|contrary|illusion)|the (?:opposite"
    rf"|reverse)(?: is (?:true|the case))?|"
    rf"(?<=but ){_IT} (?:is|was|does|did)(?: \w+)? not|(?<=but ){_IT} (?:isn't|wasn't|doesn't|didn't)|"
    rf"{_IT}(?:'s| is| would be)(?: \w+)? (?:not (?:so|it|the case)))"
    r"(?: at all| really| here| though| however| actually)?(?=[.!;\n]|\s*\Z)",
    re.IGNORECASE,
)

_HEAD = re.compile(
    r"\A[\s*_#>`-]{0,20}(?:(?P<name>[^\W\d_]{1,30}(?:[ -][^\W\d_]{1,30}){0,3})[ *_`]{0,6}[:：])?(?P<value>[^\n:：]{1,80})\n"
    r"(?:[ \t]*\n|(?=\W*(?:explanation|reason|reasoning|rationale|justification|why|because|evidence|confidence|analysis)\b))"
    r"(?P<later>.*)\Z",
    re.DOTALL | re.IGNORECASE,
)
_NOT_NAMES = frozenset(
    [
        "text",
        "input",
        "transcript",
        "transcription",
        "question",
        "options",
        "option",
        "example",
        "examples",
        "note",
        "utterance",
        "speaker",
        "quote",
        "context",
        "words",
    ]
)
_RETHINKS = _any(
    r"on second thou?ght|\bwait\b|scratch that|strike that|i was wrong|my mistake|i take (?:that|it|this) back"
    r"|chang\w+ my mind|"
    r"\bcorrection\b|\bcorrected\b|reconsider|never ?mind|\bi meant\b|let me (?:correct|revise|rethink)|\brevis(?:ed|e|ing)\b|"
    r"(?:\A|[.!?\n])\s{0,3}(?:actually|sorry|apologies|hmm|no|oops)\b",
)
_CONCLUDES = _any(
    r"\W*(?:so|therefore|thus|hence|overall|in conclusion|conclusion|final\w*|in the end|all in all|but|however|in fact"
    r"|in short|"
    r"to sum up|in summary|summary|ultimately|i(?:'d| would) (?:say|go|choose|pick)|the (?:\w+ )?(?:label|answer"
    r"|sentiment|emotion)\b)\b",
)
_ENDS = re.compile(r"[.!?;]\s|\n")
_BRIEF = 3  # words; "No, I disagree." withdraws nothing
_SHORT = 7  # words; such a short text names a label instead of discussing it


def plain(text: str) -> str:
    """A text without the parts that name no label, by the rules above. It may be empty."""
    text = text.translate(APOSTROPHES)
    text = _COURTESY.sub(" ", _SIGNS.sub(" ", text))
    unheard = [match.end() for match in _UNHEARD.finditer(_QUOTED.sub(lambda m: "\x00" * len(m[0]), text))]
    if unheard:
        but = _BUT.search(text, unheard[-1])
        text = text[but.end() :] if but and not _MAYBE.search(text, but.end()) else ""
    text = _OTHERS.sub(lambda m: m[0] if _HEDGED.match(m[0]) else " ", text)
    text = _QUESTION.sub(" ", _MOSTLY.sub(r"\1", _MINOR.sub(" ", text)))
    paragraphs = re.split(r"(\n\s*\n)", text)
    return "".join(_after_withdrawal(paragraph) for paragraph in paragraphs)


def _after_withdrawal(paragraph: str) -> str:
    """The part of a paragraph after the last phrase that withdraws what is before it."""
    ends = [match.end() for match in _TAKEN_BACK.finditer(paragraph)]
    return paragraph[ends[-1] :] if ends and len(paragraph[: ends[-1]].split()) > _BRIEF else paragraph


def opening(text: str, read: Callable[[str], str | None], is_label: Callable[[str], bool]) -> str | None:
    """The label that is the whole first line of a text ("Negative.", "Sentiment: Negative") before explaining paragraphs;
    None if there is none, or if these paragraphs name another one. `read`: text -> its label."""
    head = _HEAD.match(text)
    if head is None or not is_label(head["value"]):
        return None
    name = (head["name"] or "").casefold()
    later = head["later"]
    if _NOT_NAMES & set(name.split()) or _RETHINKS.search(later) or answer_start(tokens(later)[0]):
        return None
    label = read(text[: head.start("later")])
    for sentence in _ENDS.split(later):
        if len(sentence.split()) <= _SHORT or _CONCLUDES.match(sentence):
            other = read(sentence)
            if other not in (None, label):
                return None
    return label
