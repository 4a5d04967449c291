"""Labels that are words of denial, lists of labels, and answers that do not know: which of them name a label.

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
        The choices are positive, negative. ¦ negative/positive ¦ negative, positive ¦ negative; positive ¦ negative|positive ¦
        negative, neutral ¦ positive⏎negative ¦ negative⏎positive ¦ Negative⏎Positive ¦ - positive⏎- negative ¦
        * negative⏎* positive ¦ 1. positive⏎2. negative ¦ positive and negative ¦ negative and positive ¦ negative or positive ¦
        positive or negative ¦ "positive", "negative" ¦ "negative" "positive" ¦ (positive) (negative) ¦ positive (negative) ¦
        negative (positive) ¦ positive - negative ¦ positive -> negative ¦ positive und negative ¦ negative et positive ¦
        positive y negative ¦ positive e negative ¦ positive och negative ¦ positive、negative ¦ positive。negative ¦
        negative。positive ¦ positive. negative. ¦ Negative. Positive. ¦ positive: negative ¦ negative: positive ¦
        positive = negative ¦ positive negative ¦ negative positive ¦ positive, negative, neutral ¦
        Options: positive, negative, neutral. ¦ I can choose between positive and negative ¦ positive? negative? ¦
        negative? positive? ¦ positive or negative? ¦ Positive, negative or neutral? ¦ mixed: positive and negative ¦
        positive & negative ¦ positive + negative ¦ positive vs. negative ¦ either positive or negative ¦
        The options are: negative, positive ¦ Possible labels: positive, negative, neutral ¦
        It is not neutral, so positive or negative ¦ I'm not able to hear the audio, positive ¦ positive or rather negative ¦
        positive... negative ¦ Positive, then negative ¦ It starts positive and ends negative ¦ Positive. Also negative. ¦
        positive  negative ¦ positive,negative ¦ [positive, negative] ¦ {positive|negative} ¦ <positive><negative> ¦
        positive ∨ negative ¦ positive ou negative ¦ positive o negative ¦ positive oder negative ¦ positive или negative ¦
        positive または negative ¦ positive 또는 negative ¦ positive หรือ negative ¦ positive 或 negative ¦ positive和negative ¦
        positiveとnegative ¦ negative sau positive ¦ positive, negative or neutral ¦ “positive”, “negative” ¦
        • positive⏎• negative⏎• neutral ¦ a) positive b) negative ¦ 1) positive 2) negative 3) neutral ¦
        Positive (or negative) ¦ positive / negative / neutral ¦ positive // negative ¦ Negative, neutral ¦ neutral negative ¦
        neutral; negative ¦ NEGATIVE/POSITIVE ¦ **positive**, **negative** ¦ negative, but also positive ¦
        positive but negative ¦ Both positive and negative ¦ Not sure: positive or negative ¦
        it's between positive and negative ¦ negative-positive ¦ positive–negative ¦ negative → positive ¦
        positive=1, negative=1 ¦ positive or not positive""",
    "correct|incorrect": """
        correct/incorrect ¦ incorrect/correct ¦ correct, incorrect ¦ incorrect, correct ¦ correct or incorrect ¦
        Incorrect or correct? ¦ correct incorrect ¦ incorrect correct""",
    "right|wrong": """
        right wrong ¦ wrong right ¦ right/wrong ¦ wrong, right ¦ right or wrong ¦ wrong or right ¦ Wrong. Right. ¦ wrong⏎right ¦
        right and wrong""",
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
        sarcastic or not sarcastic ¦ not sarcastic sarcastic ¦ sarcastic or not ¦ Sarcastic or not? ¦ whether or not sarcastic ¦
        Sarcastic? Not sarcastic?""",
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
}


@pytest.mark.parametrize("key", SEVERAL)
def test_where_two_labels_are_left_a_word_of_denial_among_them_decides_nothing(key: str) -> None:
    named = read(key, SEVERAL[key])
    assert named == dict.fromkeys(named, None)


UNKNOWING = {
    "positive|negative|neutral": """
        positive, perhaps negative ¦ positive? I have no idea. ¦ I am unable to determine; possibly positive ¦
        could be positive or not ¦ I don't know ¦ I don't know, positive? ¦ I do not know. Positive, maybe ¦
        I can't tell. Positive? ¦ Hard to say: positive ¦ It is impossible to tell, positive ¦
        I'm unable to tell if it's positive ¦ I cannot determine the sentiment; it may be positive ¦ Unclear, positive ¦
        unknown (positive?) ¦ No idea, positive ¦ I have no clue: positive ¦ I cannot say. Maybe positive ¦
        As an AI I cannot determine the emotion. Options: positive ¦ Not enough information: positive ¦
        positive... I really don't know ¦ Positive? Who knows ¦ There is not enough context to decide; positive ¦
        It cannot be determined. Perhaps positive. ¦ positive? not sure, I don't know ¦ It could be positive, it could be not ¦
        can't say positive ¦ Difficult to say, positive ¦ I am not able to say whether it is positive ¦
        I'm sorry, I can't listen to audio. positive ¦ I have no way of knowing. Positive ¦ Is it positive? I can't tell. ¦
        It's undetermined, positive ¦ Je ne sais pas, positive ¦ Ich weiß nicht, positive ¦ No lo sé, positive ¦
        No sé. positive ¦ わかりません。positive ¦ 不知道，positive ¦ не знаю, positive ¦ Ich habe keine Ahnung, positive ¦
        I'd say it is negative or neutral. ¦ Positive? Hmm, I don't really know. ¦ I don't know if it's positive or negative ¦
        I don't know whether positive ¦ Positive or negative, I can't decide ¦ I'm unable to say. positive ¦
        I have no idea; could be positive ¦ I honestly have no idea, positive ¦ idk, positive ¦ IDK positive ¦
        no clue. positive? ¦ Cannot determine. positive ¦ positive/unknown ¦ Undecided, positive ¦
        I am not able to determine this. Positive. ¦ It is not possible to determine whether it's positive ¦
        It's hard to tell if it's positive ¦ It's hard to tell whether the speaker is positive. ¦
        I couldn't tell you, positive ¦ I could not determine the sentiment. positive? ¦ There's no way to tell. Positive. ¦
        I have insufficient information. Positive. ¦ Without audio I cannot judge; positive ¦
        I can't determine that from the text alone, so positive ¦ Your guess is as good as mine: positive ¦
        I don't have enough information to say positive ¦ I lack the context to decide. Positive ¦
        Sorry, I don't know. Positive? ¦ The speaker may be positive, I don't know ¦ Maybe positive, maybe not ¦
        Perhaps positive, perhaps not ¦ It may be positive or it may not ¦ I do not know ¦
        I'm not certain whether it's positive ¦ not known: positive ¦ It is uncertain whether it is positive ¦
        positive? unclear ¦ positive? unsure ¦ positive?? can't say ¦ Positive? I can't tell from this ¦ Positive? I doubt it. ¦
        Positive? Hard to say. ¦ positive? no clue ¦ The sentiment is ambiguous: positive or negative ¦
        It could go either way: positive""",
    "sarcastic|not sarcastic": """
        could be sarcastic or not ¦ may or may not be sarcastic ¦ It might or might not be sarcastic ¦
        sarcastic, or maybe not""",
    "sarcastic|sincere; yes=sarcastic; no=sincere": """
        I have no idea ¦ no one can tell ¦ yes/no: I don't know""",
    "not funny|funny": """
        maybe funny, maybe not""",
    "no|yes": """
        no way to know ¦ say no more""",
}


@pytest.mark.parametrize("key", UNKNOWING)
def test_who_does_not_know_names_no_label(key: str) -> None:
    named = read(key, UNKNOWING[key])
    assert named == dict.fromkeys(named, None)


NAMED = {
    "positive|negative|neutral -> positive": """
        negative? no. positive ¦ Negative is wrong; positive ¦ Not negative, positive ¦ Not negative⏎positive ¦
        not negative; positive ¦ Not negative. Positive. ¦ not negative but positive ¦ It's not negative, it's positive ¦
        positive, not negative ¦ positive (not negative) ¦ Answer: positive (not: negative) ¦ Negative? No, positive. ¦
        Negative? No: positive ¦ negative is incorrect, positive ¦ negative: no, positive: yes ¦ negative: no⏎positive: yes ¦
        It isn't negative - it's positive ¦ Not negative - positive ¦ Not negative: positive ¦
        Neither negative nor neutral: positive ¦ Neither negative nor neutral, positive ¦
        neither negative nor neutral; positive ¦ Neither negative nor neutral but positive ¦ not negative or neutral: positive ¦
        not negative, not neutral: positive ¦ The tone is not negative, the tone is positive ¦ I think it is positive ¦
        I think positive ¦ I believe it's positive. ¦ I'd say positive ¦ Probably positive ¦ Positive, I think. ¦
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
        negative이 아니라 positive ¦
        ไม่ใช่ negative แต่ positive ¦ inte negative utan positive ¦ ikke negative, men positive ¦ ikke negative men positive ¦
        ei negative vaan positive ¦ niet negative maar positive ¦ nicht negative sondern positive ¦ pas negative mais positive ¦
        no negative sino positive ¦ non negative ma positive ¦ não negative mas positive ¦ не negative, а positive ¦
        nie negative, lecz positive ¦ negative değil, positive ¦ δεν είναι negative, αλλά positive ¦
        bukan negative melainkan positive ¦ không negative mà positive ¦ ليس negative بل positive ¦ לא negative אלא positive ¦
        negative नहीं बल्कि positive ¦ I think it's positive. ¦ I believe this is positive ¦ It seems positive ¦
        It sounds positive to me ¦ It is most likely positive ¦ I would guess positive ¦ My best guess is positive ¦
        I'm fairly sure it's positive ¦ I'm not 100% sure, but positive ¦ I am not sure, but I think it is positive ¦
        Although I can't be certain, it's positive ¦ While I can't tell for certain, the text seems positive ¦
        I can't hear the audio, but the text is positive ¦ I don't know for certain, but I would say positive ¦
        I don't know why, but it's positive ¦ No doubt: positive ¦ positive, without any doubt ¦ Positive. I know it. ¦
        I know it is positive ¦ You never know, but positive ¦ He doesn't know it but he's positive ¦ Certainly positive ¦
        perhaps positive ¦ probably positive ¦ The speaker, who doesn't know the answer, is positive ¦
        Positive. She does not know what to say.""",
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
}


@pytest.mark.parametrize("key", NAMED)
def test_the_label_that_is_left_is_named(key: str) -> None:
    choices, _, wanted = key.partition(" -> ")
    named = read(choices, NAMED[key])
    assert named == dict.fromkeys(named, wanted)
