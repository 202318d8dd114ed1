"""Recordings in NYU's layout, converted to records: `python -m data_prep.nyu`.

command.py           flags, and the conversion of every split
recording_files.py   the files of a recording: depth images and joint_data.mat
mat_elements.py      what a MATLAB file claims to hold, checked before SciPy reads it
frame_crops.py       one frame: decode, find the hand, crop
frame_converter.py   one frame to one record
split_cameras.py     the cameras of a split: from annotation, depth, predictions or a file
calibration.py       rigid transforms between cameras, fitted robustly
calibration_file.py  a user's own calibration
centers.py           files of crop centers
"""
