"""What requests to the datasets service may say."""

import pytest

from mistudio_datasets.service.downloads import DownloadRequest
from mistudio_datasets.service.upload_request import UploadRequest
from mistudio_servicekit.errors import InvalidArgument


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (DownloadRequest(""), "repo_id"),
        (DownloadRequest("a/b", revision="r" * 257), "revision"),
        (DownloadRequest("a/b", splits=("train", "")), "splits[1]"),
        (DownloadRequest("a/b", splits=("train", "test", "train")), "splits[2]"),
        (DownloadRequest("a/b", name="\0"), "name"),
        (DownloadRequest("a/b", request_id="x" * 129), "request_id"),
        (UploadRequest(""), "header.file_name"),
        (UploadRequest("a", size_bytes=-1), "header.size_bytes"),
        (UploadRequest("a", name="n" * 300), "header.name"),
    ],
)
def test_a_wrong_field_is_named(request_: DownloadRequest | UploadRequest, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        request_.check()
    assert caught.value.field == field


def test_a_token_is_no_part_of_what_a_request_says() -> None:
    request = DownloadRequest("a/b", hub_token="hf_secret")
    assert request.content() == DownloadRequest("a/b").content()
    assert "hf_secret" not in repr(request)


def test_a_token_that_is_too_long_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidArgument) as caught:
        DownloadRequest("a/b", hub_token="hf_secret" * 100).check()
    assert "hf_secret" not in caught.value.message
