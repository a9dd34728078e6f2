"""Which of MediaPipe's 478 face landmarks mean what.

Belongs here: index tuples of the contours and points that the renderer moves or pins.
Does not belong here: coordinates, weights, any arithmetic.

Numbers are those of MediaPipe's face mesh with attention (mediapipe/modules/face_landmark, canonical_face_model). Lists
run from the image's left to its right, so "left" here is the image's left.
"""

from __future__ import annotations

UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

LEFT_EYE_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_IRIS = (468, 469, 470, 471, 472)
RIGHT_EYE_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_EYE_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
RIGHT_IRIS = (473, 474, 475, 476, 477)

LEFT_BROW = (70, 63, 105, 66, 107)
RIGHT_BROW = (336, 296, 334, 293, 300)
UPPER_LIDS = (161, 159, 157, 384, 386, 388)

NOSE_BASE = (98, 97, 2, 326, 327)
NOSE_TIP = 1
FOREHEAD_TOP = 10
CHIN = 152
CHEEKS = (50, 101, 36, 280, 330, 266)
FACE_SIDES = (234, 454)

FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
