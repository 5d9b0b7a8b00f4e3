"""A mirror of the Hugging Face Hub: serves folders with the Hub's HTTP contract, for sites and tests without internet.

Layout below the root:

    users.json                                 {"<token>": "<user name>"}; tokens the mirror knows
    {models|datasets}/<owner>/<name>/…         files of the revision `main`
    {models|datasets}/<owner>/<name>/.revisions/<revision>/…   files of other revisions
    {models|datasets}/<owner>/<name>/.mirror.json              see `repositories.Settings`
"""

from mistudio_local.hub_mirror.faults import Body, Faults, Listener, Refusal, RequestRecord
from mistudio_local.hub_mirror.server import HubMirror

__all__ = ["Body", "Faults", "HubMirror", "Listener", "Refusal", "RequestRecord"]
