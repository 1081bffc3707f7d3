"""A page in the browser: a picture or a camera, what the machine sees, and where its time goes.

``falconet demo`` opens it on the simulators; on a board ``python3 -m falconet.demo PROGRAM`` does,
with the isa, the runtime, NumPy, Flask, and OpenCV or Pillow alone.
"""
