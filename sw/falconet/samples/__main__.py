"""``python3 -m falconet.samples FOLDER``: what the board's notebook needs, into a folder."""

import sys

from falconet.samples import main

sys.exit(main(sys.argv[1:]))
