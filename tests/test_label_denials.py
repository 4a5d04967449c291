"""Labels that are words of denial, and lists of labels: which of them name a label.

Every table: the choices, behind ";" another name of one, behind "->" the label that is named; texts, "⏎" for a new line.
"""

import pytest

from diva_bench.scorers.label_parser import Parser


def read(key: str, texts: str) -> dict[str, str | None]:
    choices, *names = key.split("; ")
    parser = Parser(tuple(choices.split("|")), dict(name.split("=") for name in names))
    found = [" ".join(text.split()).replace("⏎", "\n") for text in texts.split("¦")]
    return {text: parser.parse(text) for text in found}


SEVERAL = {
    "positive|negative|neutral": """
        positive/negative ¦ positive, negative ¦ positive; negative ¦ positive|negative ¦ neutral, negative ¦
        The choices are positive, negative. ¦ negative/positive ¦ negative, positive ¦ negative; positive ¦
        negative|positive ¦ negative, neutral ¦ positive⏎negative ¦ negative⏎positive ¦ Negative⏎Positive ¦
        - positive⏎- negative ¦ * negative⏎* positive ¦ 1. positive⏎2. negative ¦ positive and negative ¦
        negative and positive ¦ negative or positive ¦ positive or negative ¦ "positive", "negative" ¦ "negative" "positive" ¦
        (positive) (negative) ¦ positive (negative) ¦ negative (positive) ¦ positive - negative ¦ positive -> negative ¦
        positive und negative ¦ negative et positive ¦ positive y negative ¦ positive e negative ¦ positive och negative ¦
        positive、negative ¦ positive。negative ¦ negative。positive ¦ positive. negative. ¦ Negative. Positive. ¦
        positive: negative ¦ negative: positive ¦ positive = negative ¦ positive negative ¦ negative positive ¦
        positive, negative, neutral ¦ Options: positive, negative, neutral. ¦ I can choose between positive and negative ¦
        positive? negative? ¦ negative? positive? ¦ positive or negative? ¦ Positive, negative or neutral? ¦
        mixed: positive and negative ¦ positive & negative ¦ positive + negative ¦ positive vs. negative ¦
        either positive or negative ¦ The options are: negative, positive ¦ Possible labels: positive, negative, neutral ¦
        It is not neutral, so positive or negative ¦ I'm not able to hear the audio, positive ¦ positive or rather negative ¦
        positive... negative ¦ Positive, then negative ¦ It starts positive and ends negative ¦ Positive. Also negative. ¦
        positive  negative ¦ positive,negative ¦ [positive, negative] ¦ {positive|negative} ¦ <positive><negative> ¦
        positive ∨ negative ¦ positive ou negative ¦ positive o negative ¦ positive oder negative ¦ positive или negative ¦
        positive または negative ¦ positive 또는 negative ¦ positive หรือ negative ¦ positive 或 negative ¦
        positive和negative ¦ positiveとnegative ¦ negative sau positive ¦ positive, negative or neutral ¦
        “positive”, “negative” ¦ • positive⏎• negative⏎• neutral ¦ a) positive b) negative ¦
        1) positive 2) negative 3) neutral ¦ Positive (or negative) ¦ positive / negative / neutral ¦ positive // negative ¦
        Negative, neutral ¦ neutral negative ¦ neutral; negative ¦ NEGATIVE/POSITIVE ¦ **positive**, **negative** ¦
        negative, but also positive ¦ positive but negative ¦ Both positive and negative ¦ Not sure: positive or negative ¦
        it's between positive and negative ¦ negative-positive ¦ positive–negative ¦ negative → positive ¦
        positive=1, negative=1 ¦ positive or not positive ¦ positive AND negative ¦ positive, negative (both) ¦
        It's a mix of negative and positive. ¦ positive and/or negative ¦ positive; also negative ¦
        50% positive, 50% negative ¦ Positive for A, negative for B. ¦ negative=0.5 positive=0.5 ¦ positive⏎⏎negative ¦
        positive⏎negative ¦ Positive.⏎Negative. ¦ positive — negative ¦ positive ~ negative ¦ negative, positive, negative ¦
        Positive or negative?⏎ ¦ Sentiment (positive/negative/neutral): ¦ ['positive', 'negative'] ¦ ["positive","negative"] ¦
        {"positive": 0.5, "negative": 0.5} ¦ positive:negative:neutral ¦ positive * negative ¦
        negative, not positive, neutral ¦ Label: positive Label: negative ¦ Answer: positive. Answer: negative. ¦
        The answer is positive or negative. ¦ Answer: positive/negative ¦ The answer is either positive or negative ¦
        negative positive ¦ not only positive but negative ¦ It was positive. Now it's negative. ¦
        Positive? Yes. Negative? Yes. ¦ no positive no negative ¦ neither ¦ neither positive nor negative nor neutral ¦
        Either negative or neutral. ¦ positive, if not negative ¦ positive if not negative ¦ negative unless positive ¦
        negative or, rather, positive ¦ I dunno, positive ¦ dunno. positive ¦ don't ask me: positive ¦
        cannot be assessed; positive ¦ The sentiment is not determinable. positive ¦
        The sentiment is indeterminable. positive ¦ inconclusive, positive ¦ Inconclusive: positive ¦ undefined, positive ¦
        I refuse to answer. positive ¦ I can't help with that. positive ¦ I'm sorry, I cannot answer. positive ¦
        I can't hear anything. positive ¦ I can't hear the audio. positive ¦ I did not hear the audio; positive ¦
        There is no audio. positive ¦ No audio was provided. Positive. ¦ positive? Beats me. ¦ positive - or not ¦
        positive (or not) ¦ It is possibly positive, possibly not ¦ yes and no: positive and negative ¦ positive? yes and no ¦
        I fail to see whether it's positive ¦ I'm torn between positive and neutral""",
    "correct|incorrect": """
        correct/incorrect ¦ incorrect/correct ¦ correct, incorrect ¦ incorrect, correct ¦ correct or incorrect ¦
        Incorrect or correct? ¦ correct incorrect ¦ incorrect correct""",
    "right|wrong": """
        right wrong ¦ wrong right ¦ right/wrong ¦ wrong, right ¦ right or wrong ¦ wrong or right ¦ Wrong. Right. ¦
        wrong⏎right ¦ right and wrong""",
    "true|false": """
        False or true ¦ True or false ¦ false true ¦ true false ¦ false/true ¦ false, true ¦ False⏎True ¦ true and false ¦
        False and true ¦ True. False. ¦ 'false' or 'true' ¦ false oder true""",
    "joy|none": """
        joy, none ¦ none, joy ¦ none/joy ¦ joy or none ¦ none or joy ¦ none joy ¦ joy none ¦ none and joy ¦ joy; none ¦
        joy⏎none ¦ joy: none""",
    "yes|no": """
        yes no ¦ no yes ¦ yes/no ¦ no/yes ¦ no or yes ¦ yes or no ¦ No or yes? ¦ no, yes ¦ yes, no ¦ No⏎Yes ¦ no and yes ¦
        yes and no ¦ no; yes ¦ Yes? No?""",
    "sarcastic|not sarcastic": """
        sarcastic, not sarcastic ¦ not sarcastic, sarcastic ¦ not sarcastic / sarcastic ¦ not sarcastic or sarcastic ¦
        sarcastic or not sarcastic ¦ not sarcastic sarcastic ¦ sarcastic or not ¦ Sarcastic or not? ¦
        whether or not sarcastic ¦ Sarcastic? Not sarcastic?""",
    "sarcastic|sincere; yes=sarcastic; no=sincere": """
        There is no match ¦ sincere: no ¦ yes/no ¦ sarcastic, no ¦ yes or no ¦ Yes? No?""",
    "very happy|happy": """
        not very happy ¦ happy, very happy ¦ very happy or happy""",
    "agree|disagree|none": """
        agree none ¦ none agree ¦ agree; none ¦ none; agree ¦ none. agree.""",
    "never|sometimes|always": """
        never always ¦ always never ¦ never or always ¦ never, always ¦ Never? Always? ¦ sometimes never ¦ never sometimes""",
    "nothing|something": """
        nothing something ¦ something nothing ¦ nothing or something ¦ nothing, something""",
    "not funny|funny": """
        funny, not funny ¦ not funny; funny ¦ funny/not funny ¦ Funny or not funny? ¦ not funny - funny ¦ is it funny or not ¦
        funny (or not) ¦ funny or not?""",
    "non-sarcastic|sarcastic": """
        sarcastic/non-sarcastic ¦ non-sarcastic, sarcastic ¦ sarcastic or non-sarcastic ¦ non-sarcastic or sarcastic""",
    "happy|unhappy": """
        happy/unhappy ¦ unhappy happy ¦ happy, unhappy""",
    "absent|present": """
        absent/present ¦ present, absent ¦ absent present ¦ present or absent ¦ Absent. Present.""",
    "0|1": """
        0/1 ¦ 0, 1 ¦ 0 or 1 ¦ 1 0 ¦ 0⏎1 ¦ 0 1""",
    "happy|sad|neither": """
        neither or happy ¦ happy, neither ¦ neither; sad""",
    "very happy|happy|sad": """
        not only happy but sad ¦ sad, not just happy""",
    "no|yes": """
        no yes no ¦ yes no yes ¦ no? yes? ¦ It's a yes and a no ¦ there's no one ¦ no comment ¦ no problem ¦
        I have no opinion""",
    "richtig|falsch": """
        richtig/falsch ¦ falsch, richtig ¦ richtig oder falsch ¦ falsch richtig ¦ Falsch. Richtig.""",
    "ja|nein": """
        ja/nein ¦ ja, nein ¦ nein oder ja ¦ Nein? Ja? ¦ ja nein ¦ nein ja ¦ nein und ja ¦ ja und nein""",
    "oui|non": """
        oui/non ¦ non, oui ¦ oui ou non ¦ non oui ¦ Non. Oui. ¦ non et oui ¦ oui et non""",
    "sí|no": """
        sí/no ¦ no, sí ¦ sí o no ¦ no o sí ¦ sí y no ¦ no y sí ¦ no sí""",
    "да|нет": """
        да/нет ¦ да, нет ¦ нет, да ¦ да или нет ¦ нет или да ¦ нет да""",
    "是|否": """
        是/否 ¦ 是、否 ¦ 是或否 ¦ 否，是 ¦ 是还是否？""",
    "はい|いいえ": """
        はい/いいえ ¦ はい、いいえ ¦ いいえ、はい ¦ はいまたはいいえ ¦ はいかいいえ""",
    "네|아니요": """
        네/아니요 ¦ 네, 아니요 ¦ 아니요, 네 ¦ 네 또는 아니요""",
    "joie|aucun": """
        joie, aucun ¦ aucun, joie ¦ joie ou aucun ¦ aucun joie ¦ aucun/joie""",
    "Freude|keine": """
        Freude, keine ¦ keine/Freude ¦ keine oder Freude ¦ Freude oder keine ¦ keine, Freude""",
    "开心|无": """
        开心/无 ¦ 开心，无 ¦ 无，开心 ¦ 开心或无 ¦ 无或开心""",
    "喜び|なし": """
        喜び、なし ¦ 喜び/なし ¦ なし、喜び ¦ なしまたは喜び""",
    "기쁨|없음": """
        기쁨, 없음 ¦ 없음/기쁨 ¦ 없음 또는 기쁨 ¦ 기쁨 없음""",
    "alegría|ninguna": """
        alegría, ninguna ¦ ninguna/alegría ¦ alegría o ninguna ¦ ninguna o alegría ¦ ninguna alegría""",
    "positiv|negativ|neutral": """
        positiv/negativ ¦ negativ, positiv ¦ weder positiv noch negativ ¦ Ich kann es nicht sagen, positiv ¦ unklar: positiv ¦
        Die Optionen sind positiv, negativ, neutral. ¦ zwischen positiv und negativ ¦ könnte positiv sein oder nicht""",
    "positif|négatif|neutre": """
        positif ou négatif ¦ négatif, positif ¦ aucune idée, positif ¦ Les options sont positif, négatif et neutre. ¦
        entre positif et négatif""",
    "positivo|negativo": """
        positivo o negativo ¦ Las opciones son positivo, negativo. ¦ non lo so, positivo ¦ positivo? non lo so""",
}


@pytest.mark.parametrize("key", SEVERAL)
def test_where_two_labels_are_left_a_word_of_denial_among_them_decides_nothing(key: str) -> None:
    named = read(key, SEVERAL[key])
    assert named == dict.fromkeys(named, None)


NAMED = {
    "positive|negative|neutral -> positive": """
        negative? no. positive ¦ Negative is wrong; positive ¦ Not negative, positive ¦ Not negative⏎positive ¦
        not negative; positive ¦ Not negative. Positive. ¦ not negative but positive ¦ It's not negative, it's positive ¦
        positive, not negative ¦ positive (not negative) ¦ Answer: positive (not: negative) ¦ Negative? No, positive. ¦
        Negative? No: positive ¦ negative is incorrect, positive ¦ negative: no, positive: yes ¦ negative: no⏎positive: yes ¦
        It isn't negative - it's positive ¦ Not negative - positive ¦ Not negative: positive ¦
        Neither negative nor neutral: positive ¦ Neither negative nor neutral, positive ¦
        neither negative nor neutral; positive ¦ Neither negative nor neutral but positive ¦
        not negative or neutral: positive ¦ not negative, not neutral: positive ¦
        The tone is not negative, the tone is positive ¦ I think it is positive ¦ I think positive ¦
        I believe it's positive. ¦ I'd say positive ¦ Probably positive ¦ Positive, I think. ¦
        The speaker is positive, I guess ¦ Positive, no question ¦ Positive, with no negative tone ¦
        Positive, without anything negative ¦ positive not negative ¦ rather positive than negative ¦
        positive rather than negative ¦ More positive than negative ¦ Options: positive, negative, neutral. Answer: positive ¦
        Options: positive/negative/neutral⏎Answer: positive ¦ Choices: positive, negative, neutral⏎⏎positive ¦
        Out of positive, negative and neutral, it is positive ¦ The options are positive, negative, neutral. It is positive. ¦
        Between positive and negative: positive ¦ Positive or negative? Positive. ¦
        I first thought negative, but it is positive ¦ At first I thought it was negative, but it is positive ¦
        Initially negative, but actually positive ¦ It might be negative or neutral. Final answer: positive ¦
        The answer is positive, not negative ¦ positive. It is not negative because ¦
        Of positive, negative and neutral, I choose positive ¦ The correct label is positive ¦ Positive. I don't know why. ¦
        negative would be wrong: positive ¦ It would be wrong to say negative. Positive. ¦ Not neutral⏎⏎Positive ¦
        not neutral, not negative⏎positive ¦ Negative? Nope, positive ¦ negative - no, positive ¦
        negative isn't right, positive ¦ Negative is not right; positive ¦ negative can be ruled out: positive ¦
        not negative, not neutral, positive ¦ not negative⏎⏎positive ¦ Not negative⏎positive ¦
        Not negative but rather positive ¦ It's not negative. positive ¦ Definitely not negative; positive ¦
        It is not negative, and it is positive ¦ positive - definitely not negative ¦ positive instead of negative ¦
        positive; not negative, not neutral ¦ Not negative, but positive. ¦ The text isn't negative: it's positive ¦
        positive⏎not negative ¦ positive (no negative words) ¦ Positive: there is nothing negative in it. ¦ positive. ¦
        'positive', not 'negative' ¦ Positive⏎⏎Options considered: positive, negative, neutral ¦
        positive [options: positive, negative, neutral] ¦
        The sentiment of the text is positive because the speaker does not use negative words. ¦
        Sentiment: positive⏎Confidence: high ¦ Not at all negative. Very positive. ¦ Nothing negative here, positive ¦
        There's nothing negative; positive ¦ no negative sentiment, positive ¦ No negativity: positive ¦ positive! ¦
        negative: false, positive: true ¦ negative = 0, positive = 1 ¦
        Of the three options (positive, negative, neutral), positive. ¦ positive ¦ The answer would be positive ¦
        My answer: positive ¦ I'm going with positive ¦ Positive? Yes. ¦ Positive, definitely. ¦
        Is it negative? No. It's positive. ¦ is it negative? no⏎positive ¦ Weder negative noch neutral: positive ¦
        weder negative noch neutral, sondern positive ¦ ni negative ni neutral: positive ¦ ni negative ni neutral, positive ¦
        né negative né neutral: positive ¦ nem negative nem neutral: positive ¦ ni negative, ni neutral, positive ¦
        varken negative eller neutral: positive ¦ hverken negative eller neutral, positive ¦
        ani negative, ani neutral: positive ¦ ни negative, ни neutral: positive ¦ ne negative, hanem positive ¦
        sem negative, sem neutral: positive ¦ ei negative eikä neutral, vaan positive ¦ 不是negative，是positive ¦
        既不是negative也不是neutral：positive ¦ negativeではない。positive ¦ negative ではなく positive ¦
        negative이 아니라 positive ¦ ไม่ใช่ negative แต่ positive ¦ inte negative utan positive ¦
        ikke negative, men positive ¦ ikke negative men positive ¦ ei negative vaan positive ¦ niet negative maar positive ¦
        nicht negative sondern positive ¦ pas negative mais positive ¦ no negative sino positive ¦ non negative ma positive ¦
        não negative mas positive ¦ не negative, а positive ¦ nie negative, lecz positive ¦ negative değil, positive ¦
        δεν είναι negative, αλλά positive ¦ bukan negative melainkan positive ¦ không negative mà positive ¦
        ليس negative بل positive ¦ לא negative אלא positive ¦ negative नहीं बल्कि positive ¦ I think it's positive. ¦
        I believe this is positive ¦ It seems positive ¦ It sounds positive to me ¦ It is most likely positive ¦
        I would guess positive ¦ My best guess is positive ¦ I'm fairly sure it's positive ¦ I'm not 100% sure, but positive ¦
        I am not sure, but I think it is positive ¦ Although I can't be certain, it's positive ¦
        While I can't tell for certain, the text seems positive ¦ I can't hear the audio, but the text is positive ¦
        I don't know for certain, but I would say positive ¦ I don't know why, but it's positive ¦ No doubt: positive ¦
        positive, without any doubt ¦ Positive. I know it. ¦ I know it is positive ¦ You never know, but positive ¦
        He doesn't know it but he's positive ¦ Certainly positive ¦ perhaps positive ¦ probably positive ¦
        The speaker, who doesn't know the answer, is positive ¦ Positive. She does not know what to say. ¦
        {"label": "positive"} ¦ {"sentiment": "positive", "reason": "it is not negative"} ¦
        not negative or neutral, but positive ¦ The sentiment is not negative or neutral. It's positive. ¦
        Negative: no. Neutral: no. Positive: yes. ¦ negative? no⏎neutral? no⏎positive? yes ¦
        Negative? No. Neutral? No. Positive? Yes. ¦ - negative: no⏎- neutral: no⏎- positive: yes ¦
        positive (negative would be wrong) ¦ positive, not neutral nor negative ¦ Positive: not negative or neutral. ¦
        It's positive; negative doesn't apply. ¦ negative doesn't fit, positive does ¦
        "Negative" is wrong. "Positive" is right. ¦ Negative isn't it. Positive. ¦ Not 'negative', 'positive' ¦
        Not "negative"⏎"positive" ¦ I wouldn't say negative; positive ¦ I would not say negative. I would say positive. ¦
        I don't think it's negative. Positive. ¦ Not negative.⏎⏎Positive. ¦ **Not negative**⏎**Positive** ¦
        1. Not negative⏎2. Positive ¦ - Not negative⏎- Positive ¦ Not negative/neutral: positive ¦
        not negative, i.e. positive ¦ Not negative = positive ¦ not negative => positive ¦ Not negative (positive) ¦
        it's not negative so it's positive ¦ Not negative -> positive ¦ not negative…positive ¦
        first I thought negative, then neutral, but positive ¦ I initially thought negative; however, it's positive. ¦
        I thought it was negative at first, but it is positive ¦ It seemed negative at first but is positive ¦
        Initially I leaned negative, but it's positive ¦ On the surface it's negative, but it is actually positive ¦
        Positive or negative? It's positive. ¦ Is this positive, negative or neutral? Positive. ¦
        Negative? Not really. Positive. ¦ Negative? Never! Positive. ¦ Negative? Wrong. Positive. ¦
        Negative? False. Positive. ¦ Negative - wrong. Positive - right. ¦ Negative (wrong), positive (right) ¦
        Positive, I'm sure. ¦ Positive. Not sure why. ¦ Positive, though I'm not entirely sure. ¦
        I'm not an expert, but positive. ¦ I could be wrong, but positive. ¦ I might be wrong, but it's positive ¦
        Positive, if I had to guess. ¦ If I had to choose, positive. ¦ Positive, more or less. ¦
        Positive, as far as I can tell. ¦ As far as I can tell, positive. ¦ As far as I know, positive ¦
        I can tell it's positive. ¦ I know that it's positive ¦ Positive; it couldn't be clearer. ¦ It must be positive. ¦
        It could be positive. ¦ Possibly positive. ¦ Maybe positive ¦ It may be positive. ¦ It's positive, isn't it? ¦
        positive, right? ¦ Positive, I don't know why. ¦ The speaker is positive and knows it.""",
    "positive|negative|neutral -> negative": """
        Neither positive nor neutral: negative. ¦ neither positive nor neutral, negative ¦
        Options: positive, negative, neutral. Answer: negative ¦ I first thought positive, but it is negative ¦
        Not positive, negative ¦ not positive but negative ¦ negative, not positive ¦ Negative, because it is not positive ¦
        negative: it is not positive ¦ Positive? No. Negative. ¦ Positive? No, negative. ¦ positive is wrong; negative ¦
        positive is wrong: negative ¦ Answer: negative (not: positive) ¦ negative (not positive) ¦ The speaker is negative. ¦
        negative. not positive. ¦ Not positive⏎negative ¦ Negative⏎Not positive ¦ negative, no doubt ¦ negative ¦ Negative! ¦
        **Negative** ¦ answer: negative ¦ I was going to say positive, but no: negative ¦
        Out of positive, negative and neutral it's negative ¦ anything but positive: negative ¦
        Negative because nothing is positive""",
    "correct|incorrect -> incorrect": """
        Incorrect: it is not correct ¦ incorrect, not correct ¦ Incorrect ¦ It is incorrect. ¦
        incorrect because it isn't correct ¦ not correct, incorrect ¦ Not correct: incorrect ¦ correct? no. incorrect ¦
        The answer is incorrect""",
    "correct|incorrect -> correct": """
        correct, not incorrect ¦ Not incorrect, correct ¦ Correct. Nothing is incorrect ¦ incorrect? no, correct""",
    "right|wrong -> wrong": """
        wrong, not right ¦ That is wrong. ¦ not right: wrong ¦ right? no. wrong ¦
        It's wrong because nothing about it is right""",
    "true|false -> false": """
        That's false because it is not ¦ False: it is not true ¦ false, not true ¦ It's false ¦ Is it true? False. ¦
        not true, false ¦ Not true: false""",
    "true|false -> true": """
        true, not false ¦ not false, true ¦ false? no. true ¦ Not false⏎true""",
    "joy|none -> none": """
        none ¦ None. ¦ no joy, none ¦ none: no joy ¦ neither joy, so none ¦ There is none ¦ none of the above""",
    "yes|no; nope=no -> no": """
        no no no ¦ No no ¦ no, no, no ¦ it's a no from me ¦ That's a no. ¦ It's a hard no from me ¦ I say no ¦
        The answer is no ¦ the answer is no because he means it ¦ no. ¦ No thank you, no ¦ nope""",
    "yes|no -> yes": """
        yes yes yes ¦ it's a yes from me ¦ Yes, no doubt ¦ not no, yes ¦ yes, not no""",
    "sarcastic|sincere; yes=sarcastic; no=sincere -> sincere": """
        it's a no from me ¦ no no no ¦ No, it isn't sarcastic ¦ sarcastic? no ¦ sarcastic: no ¦ Is it sarcastic? No ¦
        No sarcasm here, sincere""",
    "very happy|happy -> very happy": """
        very happy, not just happy ¦ not just happy, very happy ¦ Not happy, very happy ¦ not just happy but very happy ¦
        very happy, not only happy ¦ very happy, not merely happy""",
    "very happy|happy -> happy": """
        not very happy, just happy ¦ happy but not very happy ¦ happy, not very happy""",
    "happy|sad -> sad": """
        I don't know for sure, but he is sad ¦ Not sure, but sad ¦ He has no idea what to do, so sad ¦
        I can't be certain, but sad""",
    "never|sometimes|always -> never": """
        Never. ¦ it is never the case ¦ never, not always ¦ not always; never ¦ Not sometimes, never""",
    "not funny|funny -> not funny": """
        not funny ¦ It's not funny. ¦ Not funny! ¦ isn't funny ¦ No, it's not funny ¦ not a bit funny""",
    "non-sarcastic|sarcastic -> sarcastic": """
        not non-sarcastic, sarcastic ¦ sarcastic, not non-sarcastic ¦ Sarcastic rather than non-sarcastic""",
    "non-sarcastic|sarcastic -> non-sarcastic": """
        non-sarcastic, not sarcastic ¦ not sarcastic: non-sarcastic ¦ non-sarcastic rather than sarcastic""",
    "happy|unhappy -> unhappy": """
        not happy, unhappy ¦ unhappy, not happy ¦ Happy? No. Unhappy ¦ not happy⏎unhappy""",
    "absent|present -> absent": """
        absent ¦ It is absent. ¦ not present, absent ¦ present? no, absent""",
    "absent|present -> present": """
        not absent, present ¦ It's present ¦ absent? No. Present. ¦ not absent⏎present""",
    "0|1 -> 0": """
        0 ¦ 0. ¦ Answer: 0 ¦ not 1, 0 ¦ The answer is 0 ¦ label: 0""",
    "0|1 -> 1": """
        not 0, 1 ¦ 1 ¦ 1, not 0 ¦ Answer: 1 (not: 0)""",
    "true|false|unknown -> unknown": """
        unknown ¦ Unknown. ¦ It is unknown ¦ neither true nor false: unknown ¦ The answer is unknown""",
    "happy|sad|neither -> neither": """
        neither happy nor sad ¦ Neither. ¦ neither of them ¦ neither ¦ Neither happy nor sad, so neither""",
    "very happy|happy|sad -> very happy": """
        not only happy: very happy ¦ very happy (not just happy) ¦ very happy""",
    "no|yes; nope=no -> no": """
        It's a no. ¦ a clear no ¦ that would be a no ¦ The answer is: no ¦ Definitely a no from my side ¦ No, no, no! ¦
        no, not at all ¦ No. I don't think so. ¦ Nope. No. ¦ I would say no ¦ I'd go with no ¦ My vote is no ¦
        No no, definitely no ¦ no. no. no. ¦ NO NO ¦ no⏎no ¦ hell no ¦ no way, no ¦ absolutely no.""",
    "sarcastic|sincere; yes=sarcastic; no=sincere -> sarcastic": """
        Yes, it's not sincere ¦ It's a yes from me ¦ yes yes ¦ Yes because it isn't sincere ¦ Sarcastic: yes""",
    "richtig|falsch -> falsch": """
        falsch ¦ nicht richtig, sondern falsch ¦ Das ist falsch. ¦ Falsch, weil es nicht richtig ist""",
    "ja|nein -> nein": """
        Nein. ¦ Nein, nein! ¦ nein nein nein ¦ Nein, das ist nicht ironisch. ¦ ein klares Nein von mir ¦
        Die Antwort ist nein.""",
    "oui|non -> non": """
        Non. ¦ non, ce n'est pas ironique ¦ Non non non ¦ c'est un non ¦ La réponse est non.""",
    "sí|no -> no": """
        No. ¦ No, no es irónico ¦ no no ¦ La respuesta es no.""",
    "да|нет -> нет": """
        Нет. ¦ нет, это не сарказм ¦ нет нет""",
    "是|否 -> 否": """
        否。 ¦ 答案是否。 ¦ 否，不是讽刺""",
    "はい|いいえ -> いいえ": """
        いいえ。 ¦ いいえ、違います ¦ いいえ、皮肉ではありません""",
    "joie|aucun -> joie": """
        joie ¦ joie! ¦ C'est de la joie.""",
    "Freude|keine -> keine": """
        keine ¦ Keine. ¦ keine!""",
    "开心|无 -> 无": """
        无 ¦ 无。 ¦ 答案：无""",
    "喜び|なし -> なし": """
        なし ¦ なし。 ¦ 答えはなし""",
    "positivo|negativo|neutro -> negativo": """
        negativo ¦ Né positivo né neutro: negativo ¦ non positivo, negativo ¦ ni positivo ni neutro: negativo ¦
        Ni positivo ni neutro, sino negativo""",
    "positiv|negativ|neutral -> negativ": """
        weder positiv noch neutral: negativ ¦ Weder positiv noch neutral, sondern negativ. ¦ nicht positiv: negativ ¦
        negativ ¦ Zuerst dachte ich positiv, aber es ist negativ ¦ Optionen: positiv, negativ, neutral. Antwort: negativ""",
    "positif|négatif|neutre -> négatif": """
        ni positif ni neutre : négatif ¦ Ni positif, ni neutre : négatif. ¦ pas positif mais négatif ¦
        Options : positif, négatif, neutre. Réponse : négatif ¦ D'abord positif, mais finalement négatif""",
}


@pytest.mark.parametrize("key", NAMED)
def test_the_label_that_is_left_is_named(key: str) -> None:
    choices, _, wanted = key.partition(" -> ")
    named = read(choices, NAMED[key])
    assert named == dict.fromkeys(named, wanted)
