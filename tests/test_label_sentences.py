"""Answers in sentences, as chat models write them, and answers that do not know: which label they name.

Key: the choices, behind ";" another name of one, behind "->" the label that is named ("->" alone: none); "⏎": a new line.
"""

import pytest

from diva_bench.scorers.label_parser import Parser

UNKNOWING = {
    "positive|negative|neutral": """
        positive, perhaps negative ¦ positive? I have no idea. ¦ I am unable to determine; possibly positive ¦
        could be positive or not ¦ I don't know ¦ I don't know, positive? ¦ I do not know. Positive, maybe ¦
        I can't tell. Positive? ¦ Hard to say: positive ¦ It is impossible to tell, positive ¦
        I'm unable to tell if it's positive ¦ I cannot determine the sentiment; it may be positive ¦ Unclear, positive ¦
        unknown (positive?) ¦ No idea, positive ¦ I have no clue: positive ¦ I cannot say. Maybe positive ¦
        As an AI I cannot determine the emotion. Options: positive ¦ Not enough information: positive ¦
        positive... I really don't know ¦ Positive? Who knows ¦ There is not enough context to decide; positive ¦
        It cannot be determined. Perhaps positive. ¦ positive? not sure, I don't know ¦
        It could be positive, it could be not ¦ can't say positive ¦ Difficult to say, positive ¦
        I am not able to say whether it is positive ¦ I'm sorry, I can't listen to audio. positive ¦
        I have no way of knowing. Positive ¦ Is it positive? I can't tell. ¦ It's undetermined, positive ¦
        Je ne sais pas, positive ¦ Ich weiß nicht, positive ¦ No lo sé, positive ¦ No sé. positive ¦ わかりません。positive ¦
        不知道，positive ¦ не знаю, positive ¦ Ich habe keine Ahnung, positive ¦ I'd say it is negative or neutral. ¦
        Positive? Hmm, I don't really know. ¦ I don't know if it's positive or negative ¦ I don't know whether positive ¦
        Positive or negative, I can't decide ¦ I'm unable to say. positive ¦ I have no idea; could be positive ¦
        I honestly have no idea, positive ¦ idk, positive ¦ IDK positive ¦ no clue. positive? ¦ Cannot determine. positive ¦
        positive/unknown ¦ Undecided, positive ¦ I am not able to determine this. Positive. ¦
        It is not possible to determine whether it's positive ¦ It's hard to tell if it's positive ¦
        It's hard to tell whether the speaker is positive. ¦ I couldn't tell you, positive ¦
        I could not determine the sentiment. positive? ¦ There's no way to tell. Positive. ¦
        I have insufficient information. Positive. ¦ Without audio I cannot judge; positive ¦
        I can't determine that from the text alone, so positive ¦ Your guess is as good as mine: positive ¦
        I don't have enough information to say positive ¦ I lack the context to decide. Positive ¦
        Sorry, I don't know. Positive? ¦ The speaker may be positive, I don't know ¦ Maybe positive, maybe not ¦
        Perhaps positive, perhaps not ¦ It may be positive or it may not ¦ I do not know ¦
        I'm not certain whether it's positive ¦ not known: positive ¦ It is uncertain whether it is positive ¦
        positive? unclear ¦ positive? unsure ¦ positive?? can't say ¦ Positive? I can't tell from this ¦
        Positive? I doubt it. ¦ Positive? Hard to say. ¦ positive? no clue ¦
        The sentiment is ambiguous: positive or negative ¦ It could go either way: positive ¦ I'm not able to tell; positive ¦
        I am unable to tell, maybe positive ¦ I can not tell. positive ¦ we cannot know. positive ¦ Nobody knows. Positive? ¦
        No one knows; positive ¦ nobody can tell, positive ¦ One cannot tell. positive ¦ There's no telling; positive ¦
        It's anybody's guess: positive ¦ Can't say for sure: positive or negative ¦ I haven't a clue, positive ¦
        I've no idea. Positive ¦ I've got no idea; positive ¦ I have absolutely no idea, positive ¦
        I don't have any idea. Positive ¦ I have not the slightest idea. positive ¦ I don't really have an idea: positive ¦
        no way to tell: positive ¦ I wouldn't know. Positive ¦ I would not know, positive ¦ I'm clueless. positive ¦
        It is not known. positive ¦ This is impossible to determine. Positive. ¦ The sentiment can't be determined. positive ¦
        The sentiment could not be determined: positive ¦ The sentiment is undeterminable. positive ¦
        The sentiment is hard to determine. positive ¦ ambiguous: positive ¦ It's ambiguous. positive? ¦ Positive? No clue. ¦
        Positive, but I don't know. ¦ positive or negative? Who can say. ¦ positive? That's hard to tell. ¦
        Positive? It is difficult to say. ¦ I am uncertain: positive or neutral ¦ positive? could be ¦
        It could be positive. Or not. ¦ It may be positive. Or not. ¦ positive or maybe not ¦
        It might be positive, might not be. ¦ positive? maybe. maybe not. ¦ Maybe positive. Maybe not. ¦
        I neither know nor care: positive ¦ I couldn't say; positive ¦ I could not say: positive ¦
        Not possible to say. positive ¦ It isn't possible to say; positive ¦ It's not possible to tell whether positive ¦
        can't decide: positive ¦ I don't know. I don't know. Positive. ¦ Unknown. Positive. ¦ ?? positive, no idea ??""",
    "sarcastic|not sarcastic": """
        could be sarcastic or not ¦ may or may not be sarcastic ¦ It might or might not be sarcastic ¦
        sarcastic, or maybe not""",
    "sarcastic|sincere; yes=sarcastic; no=sincere": """
        I have no idea ¦ no one can tell ¦ yes/no: I don't know""",
    "not funny|funny": """
        maybe funny, maybe not""",
    "no|yes": """
        no way to know ¦ say no more""",
    "ja|nein": """
        Ich weiß nicht, ja?""",
    "sí|no": """
        No sé""",
    "positiv|negativ|neutral": """
        positiv? Keine Ahnung. ¦ Ich weiß es nicht; positiv""",
    "positif|négatif|neutre": """
        Je ne sais pas; positif ¦ positif? Je ne sais pas.""",
    "positivo|negativo": """
        ¿positivo? No lo sé. ¦ No tengo idea, positivo""",
}


SENTENCES = {
    "anger|disgust|fear|joy|neutral|sadness|surprise; angry=anger; happy=joy; sad=sadness -> sadness": """
        The emotion expressed in the audio is sadness. ¦ The speaker sounds sad. ¦
        Based on the tone and the words, the speaker seems sad, although there is some background noise. ¦
        I would classify the emotion as sadness because the speaker talks slowly and does not laugh. ¦
        The emotion is sadness. The speaker says "I don't know what to do anymore". ¦
        **Emotion:** Sadness⏎⏎**Explanation:** The speaker does not sound cheerful. ¦
        While it is hard to tell from a short clip, the speaker sounds sad. ¦ It's hard to be certain, but I'd say sadness. ¦
        Sadness – the voice is low and there is no sign of energy. ¦
        I can hear sadness in the voice; there's no anger at all. ¦ Among the options, sadness fits best. ¦
        Of the given labels, I would choose sadness. ¦ The best choice is sadness. ¦
        Out of the given options, the speaker is sad. ¦ The speaker is neither angry nor happy but sad. ¦
        At first the speaker sounds happy, but overall it is sadness. ¦
        The speaker's tone is sad, which is not surprising given what she says. ¦ Sad. He doesn't know what to do. ¦
        sadness (the speaker's voice trembles, no joy) ¦ The label is sadness, not anger or fear. ¦
        Not anger, not fear, not disgust: sadness. ¦ This is not anger but sadness ¦ The answer is sadness, not anger. ¦
        My answer is sadness. It could not be joy. ¦ I'm going with sadness. ¦ sadness, I guess ¦
        Definitely not joy. Sadness. ¦ Rather than anger, the speaker expresses sadness. ¦
        The speaker isn't angry; she is sad. ¦ The clip conveys a sense of sadness, no doubt. ¦
        I think the answer is sadness, since nothing about it is joyful. ¦ Sadness, for some reason. ¦
        She is sad because nobody came. ¦ Sadness: the speaker has lost hope and no longer wants to fight. ¦
        They are not happy about it, they're sad. ¦ Sadness⏎⏎The speaker says that they have never been loved. ¦
        Emotion: sad. Confidence: low. ¦ sadness, since the speaker lacks energy ¦
        I believe the emotion is sadness; however, I am not certain. ¦ Sadness. However, I cannot be completely sure.""",
    "anger|disgust|fear|joy|neutral|sadness|surprise; angry=anger; happy=joy; sad=sadness": """
        I'm sorry, but I can't determine the emotion from text alone. It could be sadness. ¦
        The emotion is unclear; it might be sadness or fear. ¦
        It's difficult to determine the emotion. Possible emotions: sadness. ¦ The emotion could be either sadness or anger. ¦
        I can't tell if this is anger or sadness ¦ The speaker is not happy. ¦ mixed: sadness and anger ¦ anger/sadness ¦
        sadness? anger? I can't decide ¦ Not sure. Joy or neutral? ¦ It is unknown whether the speaker is sad. ¦
        The options are anger, disgust, fear, joy, neutral, sadness and surprise. ¦
        Please choose one of: anger, disgust, fear, joy, neutral, sadness, surprise. ¦
        The speaker moves from joy to sadness. ¦
        I cannot process audio. Please provide text so I can choose between anger and joy. ¦ Neither joy nor sadness. ¦
        There's a hint of sadness, and some anger too. ¦ It does not sound sad. ¦ No emotion. ¦ I don't hear any anger. ¦
        joy, sadness ¦ Is it joy? It is not clear. ¦ nobody could call this joy ¦
        As an AI language model, I cannot determine emotions such as sadness.""",
    "anger|disgust|fear|joy|neutral|sadness|surprise; angry=anger; happy=joy; sad=sadness -> neutral": """
        Neutral. There is no clear emotion. ¦ The tone is neutral; neither joy nor anger. ¦ Neutral, no strong emotion. ¦
        It is neutral, as no particular emotion can be heard. ¦ There's no clear emotion, so neutral. ¦
        I cannot detect any strong emotion, so I would say neutral. ¦ I can't hear any anger or joy; neutral. ¦
        The speaker shows no anger or sadness. Neutral. ¦ no clear emotion: neutral ¦ neutral. ¦
        The speaker does not express anger, fear or joy, so the answer is neutral. ¦
        It's not joy, anger, or sadness; it's neutral. ¦ Nothing indicates joy. It's neutral ¦ neutral""",
    "sarcastic|sincere -> sarcastic": """
        The speaker is being sarcastic; they don't mean what they say. ¦
        Sarcastic, since the speaker obviously isn't sincere. ¦ It's sarcastic: no one would say that and be sincere. ¦
        The speaker is sarcastic. It's not that he is sincere. ¦ sarcastic, as they do not sound sincere at all ¦
        I'd lean toward sarcastic. ¦ It sounds sincere at first, but it is sarcastic. ¦ sarcastic ¦
        sarcastic -- he never means it ¦ Sarcastic! Nobody likes Mondays. ¦
        The statement is sarcastic because it is false that he loves it. ¦ Sarcastic. The opposite of sincere. ¦
        The speaker is sarcastic, not honest or sincere.""",
    "humorous|serious; humor=humorous; joke=humorous -> serious": """
        serious ¦ Serious. There's no joke here. ¦ It is serious, nothing humorous about it ¦
        The speaker isn't being humorous; it is serious. ¦ Serious: it lacks humor ¦ Not humorous, so serious. ¦
        I don't think it's humorous; it's serious. ¦ serious (no laughter)""",
    "yes|no -> no": """
        No, the speaker is not sarcastic. ¦ No. The speaker is sincere and does not use irony. ¦ No, I don't think so. ¦
        No, it doesn't sound like it. ¦ Answer: No ¦ no⏎⏎The speaker isn't sarcastic. ¦ The answer to the question is no. ¦
        No - the speaker is serious ¦ I would answer no. ¦ No, there is no sarcasm. ¦ No, although I can't be sure. ¦
        not really, no""",
    "yes|no -> yes": """
        Yes, the speaker is sarcastic and has no intention of going. ¦ Yes. There is no doubt. ¦
        Yes, I don't think he means it. ¦ yes - not sincere ¦ Yes, because nobody would say that. ¦ I'd say yes. ¦
        The answer is yes because he does not mean it ¦ Yes, it's not a serious statement ¦ yes, no question about it ¦
        Yes, although it's not clear why""",
    "true|false -> false": """
        The statement is false. ¦ False. The Nile is not in Asia. ¦ That is false, because it isn't in Asia. ¦
        It is not true; it's false. ¦ This is false: nothing of that happened. ¦ The claim is false, not true. ¦
        I think it's false. ¦ False, since no such law exists. ¦ False! ¦ The correct answer is false.""",
    "true|false -> true": """
        The statement is true, nothing about it is false. ¦ True. It isn't false. ¦ I think it is true. ¦
        It's true that the speaker is not here ¦ It is not false; it is true. ¦ The claim is true and not false.""",
    "positive|negative|neutral -> negative": """
        The review is negative because the customer did not like it. ¦ Negative. The customer has no positive words for it. ¦
        Overall, negative. ¦ The sentiment is negative: the speaker doesn't like it at all. ¦ negative, since nothing worked ¦
        The speaker has nothing positive to say, so negative. ¦ It's negative; there isn't anything positive in it. ¦
        Clearly negative. No redeeming words. ¦ negative (he never came back) ¦ The sentiment is negative, not neutral. ¦
        The text is negative since the customer doesn't know whom to ask.""",
    "correct|incorrect -> incorrect": """
        The answer is incorrect because Paris is not in Italy. ¦ Incorrect. The capital isn't Rome. ¦
        It's incorrect, no doubt. ¦ That's not correct. It's incorrect. ¦
        The response is incorrect: it should not be Rome.""",
    "A|B|C|D -> B": """
        The answer is B, not A. ¦ B. None of the others fit. ¦ I don't know for sure, but I'd pick B. ¦
        B) because it is not A ¦ Options A and C are wrong, so B. ¦ It's not A, C or D, so B ¦
        Answer: B⏎⏎A is wrong because it isn't red. ¦ The correct option is B. ¦ Not A. Not C. B. ¦ B is right; A is wrong ¦
        (B) ¦ Between A and B, I pick B. ¦ Option B: none of the rest are right""",
    "A|B|C|D": """
        A or B ¦ A, B ¦ None of A, B, C, D ¦ A and B ¦ I can't decide between A and B. ¦ A? B? I don't know ¦
        either A or B""",
}


@pytest.mark.parametrize(("key", "said"), [*UNKNOWING.items(), *SENTENCES.items()])
def test_an_answer_names_the_label_that_a_careful_reader_would_take_from_it(key: str, said: str) -> None:
    wording, _, wanted = key.partition(" -> ")
    choices, *names = wording.split("; ")
    parser = Parser(tuple(choices.split("|")), dict(name.split("=") for name in names))
    texts = [" ".join(text.split()).replace("⏎", "\n") for text in said.split("¦")]
    assert {text: parser.parse(text) for text in texts} == dict.fromkeys(texts, wanted or None)
