"""Depth cameras behind one interface: frames in mm, with intrinsics, serial number and time.

- `interface.py`: what a camera is, and what all say when something is wrong
- `kinds.py`: the kinds by name, each opened by a module that is imported when it is needed
- `folder.py`: files that play like a camera
- `realsense.py`: Intel RealSense, through pyrealsense2
- `orbbec.py`: Orbbec, through pyorbbecsdk2
- `oak.py`: Luxonis OAK, through depthai
- `frame_reader.py`: a thread that reads a camera and keeps its newest frames
- `camera_flags.py`: the flags of commands that open cameras
"""
