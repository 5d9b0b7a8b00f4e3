"""What views of a tokenization keep and drop."""

from __future__ import annotations

from uuid import UUID

from mistudio_datasets.data.views.views import open_view
from mistudio_datasets.domain.views import View, ViewFigures
from mistudio_datasets.service.token_reading import complete, reading
from mistudio_datasets.service.tools import Tools


async def figures(tools: Tools, tokenization_id: UUID, view: View) -> ViewFigures:
    """What the view keeps and drops.

    Raises:
        TokenizationNotFound, TokenizationNotReady: the tokenization has no files.
        InvalidArgument: the view cannot be; names the field `view.<field>`.
    """
    view.check()
    tokenization = await complete(tools, tokenization_id)
    return await reading(tools, tokenization, lambda folder, check: open_view(folder, view).figures)
