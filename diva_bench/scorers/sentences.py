"""The mean of one BLEU per sentence: what the DiVA paper calls BLEU (arXiv 2410.02678; SALT-NLP/DiVA-Eval,
eval/translation_eval.py). It is there to be put beside the paper's numbers and beside no others.

Every sentence is scored as a corpus of its own, smoothing "exp", without effective order: a sentence of fewer than four
tokens scores 0 even if it is right, and a long sentence counts as much as a short one. One and the same output has been
seen to score 42 in corpus BLEU and 18 here.

The paper's code takes sacreBLEU's tokenizer for the language code before the hyphen: `tokenize: zh` for zh-CN,
`ja-mecab` for ja, `13a` for every other target of CoVoST 2 (ar, ca, cy, de, et, fa, id, lv, mn, sl, sv-SE, ta, tr).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diva_bench.scorers import answer
from diva_bench.scorers.translation import checked, sacre_bleu, sacre_signature
from diva_bench.specs import TaskSpec
from diva_bench.stats import dense, ratio
from diva_bench.types import Floats, Response, Sample


class SentenceBleu:
    """Settings: `tokenize` and `references`, as for BLEU. Statistics: sentence_bleu.n, and the sum sentence_bleu.score."""

    higher_is_better = True

    def __init__(self, task: TaskSpec, **args: Any) -> None:
        self._bleu, self._references = sacre_bleu("sentence_bleu", task, args)
        self.signature = f"sentence_bleu|mean|{sacre_signature(self._bleu, self._references)}"

    def measure(self, sample: Sample, response: Response) -> dict[str, float]:
        references = checked(sample, self._references, "sentence_bleu")
        score = self._bleu.corpus_score([answer(response)], [[r] for r in references]).score
        return {"sentence_bleu.n": 1.0} | ({"sentence_bleu.score": float(score)} if score else {})

    def reduce(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """{"mean_sentence_bleu": 0 to 100}."""
        if not totals:
            return {}
        sums = dense(totals, ["sentence_bleu.n", "sentence_bleu.score"])
        return {"mean_sentence_bleu": ratio(sums[..., 1], sums[..., 0])}
