"""SAM as the local stack is deployed with it: it compresses bundles fast, where for AWS it compresses them well.

All that a bundle travels here is this machine, and zlib's default level takes half of a deployment. SAM has no option for it.
"""

import sys
import zlib

if __name__ == "__main__":
    # `zipfile` asks for this level where none is given.
    zlib.Z_DEFAULT_COMPRESSION = zlib.Z_BEST_SPEED
    from samcli.cli.main import cli

    sys.exit(cli(prog_name="sam"))
