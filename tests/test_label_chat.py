"""What chat models write around an answer: courtesy, questions, words of others, signs, explanations, other languages.

Key: the choices, behind ";" another name of one, behind "->" the label that is named ("->" alone: none); "⏎": a new line.
"""

import pytest

from diva_bench.scorers.label_parser import Parser

NONE = {
    "happy|sad|angry|neutral": """
        I'd be happy to help! Please provide the audio. ¦ I'm sad to say I can't hear it. ¦
        As a neutral AI, I have no opinion. ¦ I am happy to assist you with that. ¦ Happy to help! ¦
        We would be more than happy to analyze it. ¦ I'm sorry, I can't hear the recording. Happy? ¦
        Sad: the file is missing. ¦ I'm happy that you asked. ¦ Have a happy day! ¦ As a neutral language model I only listen. ¦
        Could you please re-upload the clip? I guess happy. ¦ There is no audio file attached, so neutral. ¦
        You forgot to attach the recording. Neutral. ¦ Happy to hear from you! ¦ I don't have access to audio. Neutral. ¦
        She sounds neutral, but I can't hear the audio. ¦ I did not receive any audio, but perhaps sad.""",
    "positive|negative|neutral": """
        Let's stay positive! Please upload the audio. ¦ I'm positive you did not attach a file. ¦ Is it positive? ¦
        ~~positive~~ ¦ ❌ positive ¦ [ ] positive ¦ You might expect positive. It is the opposite. ¦
        It might sound positive. But it is not. ¦ I can see why one might say positive, but I disagree. ¦
        I disagree that it is positive. ¦ It's a mistake to call this positive. ¦ It would be a stretch to call this positive. ¦
        Positive sentiment is absent. ¦ A positive answer is not possible. ¦ Few would call this positive. ¦
        Others say positive. I don't. ¦ It used to be positive. ¦ Would you call this positive? ¦ positive ❌ ¦ - [ ] Positive ¦
        Many people would say it is positive. ¦ You would think that it is positive. ¦
        It would be an error to label it positive. ¦
        The words are positive. But it isn't. ¦ The tone sounds positive. I disagree. ¦ A positive tone is not present. ¦
        Someone might call it positive. ¦ Some say positive, others negative. ¦ On a positive note, thanks! ¦
        Does the speaker sound positive? Let me think. ¦ ❌ positive⏎❌ negative ¦ <s>positive</s> ¦
        Negative.⏎⏎On second thought, it is positive. ¦ Sentiment: Negative⏎⏎Wait, it is positive. ¦
        Negative⏎⏎Overall, the tone is positive. ¦ Negative.⏎⏎The sentiment is positive. ¦
        Sentiment: Positive⏎⏎Corrected sentiment: Negative ¦ Positive⏎⏎Negative⏎⏎Neutral ¦
        Not: positive⏎⏎The words are nice.""",
    "yes|no": """
        Yes, I can help with that! Please upload the audio. ¦ This is a yes/no question. ¦ She said yes. ¦
        The customer answered "no". ¦ They replied yes. ¦ This is a yes or no question. ¦ No, please send the audio file first. ¦
        Yes! Could you share the clip? ¦ Sure. ¦ Ja oder nein? ¦ Die Antwort kenne ich nicht, ja?""",
    "sarcastic|sincere; honest=sincere": """
        I'll be honest with you: I didn't catch that. ¦ My sincere apologies. The file did not open. ¦
        The speaker pretends to be sincere. ¦ To be honest, the recording is silent. ¦ In all honesty, I cannot say. ¦
        Sincerely yours ¦ Honest mistake! The clip won't play. ¦ He is feigning to be sincere.""",
    "funny|serious; joke=funny": """
        It's funny you ask! I can't hear it. ¦ Funny you should ask. ¦ That's a serious question.""",
    "english|german|french": """
        Sorry, I only understand English.""",
}
NAMED = {
    "happy|sad|angry|neutral -> sad": """
        I'd be happy to help! The speaker sounds sad. ¦ I'm happy to say that the answer is sad. ¦
        I can't hear the audio clearly, but the speaker sounds sad. ¦ As a neutral AI, I would say sad. ¦
        Sad. I'd be happy to explain more! ¦ Sad. The speaker says "I can't hear you, please send the file". ¦
        Let's be neutral here: sad. ¦ Emotion: Sad⏎Explanation: She is far from the happy person that she was last year.""",
    "positive|negative|neutral -> negative": """
        [ ] positive⏎[x] negative ¦ ✅ negative ¦ ❌ positive⏎✅ negative ¦ positive ❌⏎negative ✅ ¦ ~~positive~~ negative ¦
        Sentiment: Negative⏎⏎Explanation: While the word "great" is usually positive, the speaker is annoyed at the delay. ¦
        **Sentiment:** **Negative.**⏎⏎The speaker uses words that would be positive in another context. ¦
        Negative.⏎⏎The speaker uses a word that is most often positive in reviews. ¦
        Overall sentiment: Negative⏎⏎- the word "great" counts as positive in most lists, and here it is ironic ¦
        Although the words are positive, the tone is negative. ¦ Even though the text is positive, the voice is negative. ¦
        Mostly negative, but with a hint of positive at the end. ¦ Mainly negative with a touch of positive. ¦
        Final answer: negative (I initially considered neutral). ¦ You might expect positive, but it is negative. ¦
        Sentiment: positive⏎⏎Final answer: negative ¦ Is it positive? Let me see. Negative. ¦
        It used to be positive, but it is negative.""",
    "yes|no -> yes": """
        Ja. ¦ Oui. ¦ Sí, claro. ¦ да ¦ はい ¦ Yeah ¦ Yep, that's right. ¦ Yes. She said no. ¦ Tak, oczywiście. ¦ 是的。 ¦ 네""",
    "yes|no -> no": """
        Não. ¦ 不是。 ¦ いいえ、違います。 ¦ Nope. ¦ Nah. ¦ No way! ¦ Nein, das stimmt. ¦ нет ¦ Hayır. ¦ 아니요 ¦
        No, I disagree.""",
    "sarcastic|sincere; yes=sarcastic; no=sincere -> sincere": """
        Nein. ¦ Nope, he means it. ¦ いいえ ¦ To be honest, sincere. ¦ I'll be honest with you: it is sincere.""",
}


@pytest.mark.parametrize(("key", "said"), [*NONE.items(), *NAMED.items()])
def test_a_chat_answer_names_the_label_it_gives_and_no_other(key: str, said: str) -> None:
    wording, _, wanted = key.partition(" -> ")
    choices, *names = wording.split("; ")
    parser = Parser(tuple(choices.split("|")), dict(name.split("=") for name in names))
    texts = [" ".join(text.split()).replace("⏎", "\n") for text in said.split("¦")]
    assert {text: parser.parse(text) for text in texts} == dict.fromkeys(texts, wanted or None)
