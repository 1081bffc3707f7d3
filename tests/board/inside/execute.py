"""Execute a notebook: ``execute.py NOTEBOOK FOLDER OUTPUT``; FOLDER is where it stands.

What says nothing of the machine is left out: progress, times, versions, scripts for browsers.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

source, folder, output = map(Path, sys.argv[1:])
notebook = nbformat.read(source, as_version=4)
NotebookClient(
    notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
    record_timing=False, coalesce_streams=True,
).execute()
notebook.metadata.language_info = {"name": "python"}
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs = [
            o for o in cell.outputs
            if o.get("name") != "stderr" and "application/javascript" not in o.get("data", {})
        ]
nbformat.write(notebook, output)
