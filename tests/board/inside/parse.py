"""What PYNQ's parsers make of handoff files, as JSON: ``parse.py ELDER FILE...``.

ELDER is the class that PYNQ 2.7 uses; later releases keep it for partial bitstreams.
"""

import json
import sys

from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.pl_server import hwh_parser
from pynqmetadata.frontends import Metadata

elder, *files = sys.argv[1:]
found = []
for file in files:
    parsers = {
        "new": RuntimeMetadataParser(Metadata(input=file)),
        "elder": getattr(hwh_parser, elder)(file),
    }
    found.append({
        kind: {
            "ip": p.ip_dict, "clocks": p.clock_dict, "memories": p.mem_dict, "ps": p.ps_name,
            "family": p.family_ps, "interrupts": p.interrupt_pins,
        } for kind, p in parsers.items()
    })
json.dump(found, sys.stdout, default=str)
