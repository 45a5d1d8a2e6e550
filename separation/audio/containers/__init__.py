"""Where the recordings in a file begin and end, found from its bytes, since headers are often wrong.

Files joined end to end hold several recordings. Headers claim too little after a power failure, when written
to a pipe, or when 32-bit sizes overflow; they claim too much after a broken download.

One file for each family: `chunked` (WAV, AIFF, Wave64, CAF, AU), `ogg`, `mp4`, `mpeg` (MP3).
"""
