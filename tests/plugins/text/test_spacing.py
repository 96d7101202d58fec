"""Detection of text without spaces between words; single names and segmented text do not count."""

from collections.abc import Sequence

import pytest

from seqx_text import Bleu, Chrf, PaperBleu, Rouge, TokenizedBleu
from seqx_text.spacing import language_without_spaces

GERMAN = ["Der Hund sieht die Katze.", "Sie wohnt in Köln.", "Das Buch ist alt."] * 5


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["我喜欢猫。", "他在家里。"], "Chinese"),
        (["我在2019年去了New York,那里很冷。"], "Chinese"),
        (["私は猫が好きです。", "彼は家にいます。"], "Japanese"),
        (["東京タワーへ行きました。"], "Japanese"),
        (["ฉันชอบแมวมาก", "เขาอยู่ที่บ้าน"], "Thai"),
        (["ຂ້ອຍມັກແມວຫຼາຍ"], "Lao"),
        (["ខ្ញុំចូលចិត្តឆ្មាណាស់"], "Khmer"),
        (["ကျွန်တော်ကြောင်ကိုချစ်တယ်"], "Burmese"),
        (["ང་ཞི་མི་ལ་དགའ་པོ་ཡོད།"], "Tibetan"),
        ([*GERMAN, "我喜欢猫。", "他在家里。", "今天天气很好。"], "Chinese"),
    ],
)
def test_languages_without_spaces_are_detected(texts: Sequence[str], language: str) -> None:
    assert language_without_spaces(texts) == language


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        GERMAN,
        [*GERMAN, "Der Film heißt 卧虎藏龙 und ist alt."],
        [*(["Er heißt 王小明 und wohnt in 北京市."] * 9)],
        ["我 喜欢 猫 。", "他 在 家里 。"],
        ["我 喜 欢 猫 。"],
        ["ฉัน ชอบ แมว มาก", "เขา อยู่ ที่ บ้าน"],
        ["저는 고양이를 좋아합니다.", "그는 집에 있습니다."],
        ["Я люблю кошек.", "أحب القطط", "मुझे बिल्लियाँ पसंद हैं"],
        ["1 2 3", "...", "😀😀😀😀"],
    ],
)
def test_text_with_spaces_between_words_is_not_detected(texts: Sequence[str]) -> None:
    assert language_without_spaces(texts) is None


CHINESE, JAPANESE, THAI = ["我喜欢猫。", "他在家里。"], ["私は猫が好きです。"], ["ฉันชอบแมวมาก"]


def test_spacing_warning_names_suitable_tokenizers() -> None:
    (warning,) = Bleu().warnings(CHINESE)
    assert warning == (
        "bleu: tokenize=13a does not split the references into words, because Chinese has no spaces between "
        "words; such a score means little; set one of tokenize=zh, tokenize=flores200, tokenize=char"
    )
    assert "tokenize=ja-mecab" in Bleu(tokenize="intl").warnings(JAPANESE)[0]
    assert "tokenize=zh" not in Bleu(tokenize="zh").warnings(THAI)[0].rpartition("; ")[2]
    assert Bleu(tokenize="zh").warnings(JAPANESE)
    for tokenizer, texts in (
        ("zh", CHINESE),
        ("char", THAI),
        ("flores200", JAPANESE),
        ("ja-mecab", JAPANESE),
    ):
        assert Bleu(tokenize=tokenizer).warnings(texts) == []  # type: ignore[arg-type]
    assert Bleu().warnings(GERMAN) == []


def test_metrics_warn_about_text_without_spaces() -> None:
    for metric in (TokenizedBleu(), PaperBleu(lang="zh"), Chrf(words=2), Rouge()):
        assert len(metric.warnings(CHINESE)) == 1
        assert len(metric.warnings(GERMAN)) == 0
    assert not Chrf().warnings(CHINESE)
