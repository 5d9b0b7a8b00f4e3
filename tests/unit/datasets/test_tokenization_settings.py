import json

from mistudio_datasets.domain.tokenizations import TokenizationSettings


def test_equal_settings_have_one_digest() -> None:
    assert TokenizationSettings("train", "text").digest() == TokenizationSettings("train", "text").digest()


def test_any_difference_changes_the_digest() -> None:
    base = TokenizationSettings("train", "text")
    others = [TokenizationSettings("test", "text"), TokenizationSettings("train", "body")]
    assert len({base.digest(), *(other.digest() for other in others)}) == 3


def test_settings_survive_their_canonical_json() -> None:
    settings = TokenizationSettings("train", "körper")
    assert TokenizationSettings.from_json(json.loads(settings.canonical_json())) == settings
