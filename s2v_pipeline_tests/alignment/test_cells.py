from __future__ import annotations

from s2v_pipeline.alignment.cells import cells_of_piece
from s2v_pipeline.alignment.recogniser_aligner import RECOGNISER_LATE_S, HeardWord


def _word(*starts_s: float) -> HeardWord:
    return HeardWord("a", tuple(("AA", at_s + RECOGNISER_LATE_S, at_s + RECOGNISER_LATE_S + 0.1) for at_s in starts_s))


def test_a_piece_is_cut_in_its_sure_pauses() -> None:
    segments = ((10.0, 12.0), (12.2, 13.0), (13.5, 15.0))
    cells = cells_of_piece(0, (9.7, 15.3), [_word(0.5), _word(2.6), _word(3.4, 3.9), _word(4.5)], segments)
    assert [(cell.start_s, cell.end_s, cell.opens_at_pause) for cell in cells] == [
        (9.7, 13.25, True),
        (13.25, 15.3, True),
    ]
    assert [len(cell.heard) for cell in cells] == [3, 2]
    assert [cell.phones for cell in cells] == [("AA",) * 3, ("AA",) * 2]
    assert abs(cells[1].heard[0].phones[0][1] - (9.7 + 3.9 + RECOGNISER_LATE_S)) < 1e-9


def test_a_piece_opens_at_a_pause_or_at_a_cut() -> None:
    segments = ((0.0, 14.0), (14.15, 30.0), (30.4, 35.0))
    spans = ((0.0, 14.075), (14.075, 20.0), (20.0, 30.2), (30.2, 35.0))
    assert [cells_of_piece(piece, span, [], segments)[0].opens_at_pause for piece, span in enumerate(spans)] == [
        True,
        False,
        False,
        True,
    ]
