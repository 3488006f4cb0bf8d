"""The bytes of versions: stored in a location, named by rows, read with every byte checked, collected in the end."""

from falaj.store.content.checking import Report
from falaj.store.content.collecting import Collected, Garbage
from falaj.store.content.contents import Contents, ContentUpload, Domain, Stored

__all__ = ["Collected", "ContentUpload", "Contents", "Domain", "Garbage", "Report", "Stored"]
