"""Solvers of the flow from noise to latents, with the official timesteps.

Belongs here: which of diffusers' schedulers, its flags, its sigmas and timesteps.
Does not belong here: the loop over the steps and guidance (pipeline), noise.

With sigma from 1 (noise) to 0, x = (1 - sigma) * clean + sigma * noise, and the network predicts noise - clean. `shift`
moves the steps towards noise: sigma' = shift * sigma / (1 + (shift - 1) * sigma).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from numpy.typing import NDArray

from s2v_pipeline.errors import SettingsError

Solver = Literal["unipc", "dpm++", "euler"]
Scheduler: TypeAlias = UniPCMultistepScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler

TRAIN_TIMESTEPS = 1000  # Wan-Video/Wan2.2 wan/configs/shared_config.py: num_train_timesteps
MAX_STEPS = TRAIN_TIMESTEPS  # more steps than timesteps would repeat timesteps
# Beyond it the first sigma is 1 in float32 and UniPC's logarithm of 1 - sigma no longer exists; models use 1 to 17.
MAX_SHIFT = 1000.0
_SOLVER_ORDER = 2  # wan/utils/fm_solvers_unipc.py and fm_solvers.py: solver_order

# The official UniPC starts from the largest sigma of its table, 1 - 1/1000 rounded to float32 (fm_solvers_unipc.py,
# __init__: sigma_max); the rounding decides some of the timesteps' integers.
_UNIPC_FIRST_SIGMA = float(np.float32(1 - 1 / TRAIN_TIMESTEPS))


def make_scheduler(solver: Solver, *, steps: int, shift: float) -> Scheduler:
    """A scheduler of diffusers, ready for the first of `steps` steps.

    A scheduler remembers earlier steps: make a fresh one for each clip. Use:
    `for t in scheduler.timesteps: latents = scheduler.step(velocity, t, latents, return_dict=False)[0]`.

    `unipc` and `dpm++` have the official timesteps (int64), sigmas and samples (Wan-Video/Wan2.2
    wan/utils/fm_solvers_unipc.py, fm_solvers.py: get_sampling_sigmas). `euler` is what few-step LoRAs are distilled
    with: float32 timesteps 1000 * sigma', sigma equally spaced from 1 to 0, `shift` as their makers give it (LiveAvatar
    3, lightx2v 5).

    Raises:
        SettingsError: an unknown solver, steps outside 1..1000, a shift that is not within 0 < shift <= 1000.
    """
    _check(solver, steps, shift)
    match solver:
        case "unipc":
            scheduler: Scheduler = _unipc(steps, shift)
        case "dpm++":
            scheduler = _dpm(steps, shift)
        case "euler":
            scheduler = _euler(steps, shift)
    # Otherwise the first step is looked up by its timestep, and where two are equal the first one is left out.
    scheduler.set_begin_index(0)
    return scheduler


def _check(solver: str, steps: int, shift: float) -> None:
    if solver not in get_args(Solver):
        raise SettingsError(
            f"the solver must be one of {', '.join(get_args(Solver))}",
            got=repr(solver),
            cure="Use unipc, or euler with a LoRA that was distilled for few steps.",
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise SettingsError(
            f"the number of steps must be a whole number from 1 to {MAX_STEPS}",
            got=repr(steps),
            cure="Use 40, or 4 with a LoRA that was distilled for 4 steps.",
        )
    if not (math.isfinite(shift) and 0 < shift <= MAX_SHIFT):
        raise SettingsError(
            f"the shift must be greater than 0 and at most {MAX_SHIFT:.0f}",
            got=repr(shift),
            cure="Use 3, or what the LoRA's maker gives.",
        )


def _unipc(steps: int, shift: float) -> UniPCMultistepScheduler:
    # The other flags are diffusers' defaults and the official ones: bh2, predict_x0, lower order at the end, final 0.
    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        solver_order=_SOLVER_ORDER,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
    )
    scheduler.set_timesteps(sigmas=_spaced(_UNIPC_FIRST_SIGMA, steps))
    return scheduler


def _dpm(steps: int, shift: float) -> DPMSolverMultistepScheduler:
    # dpmsolver++, midpoint and final 0 are diffusers' defaults and the official ones.
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        solver_order=_SOLVER_ORDER,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
    )
    # Its set_timesteps takes no sigmas and starts at 0.999 where the official code starts at 1; on a scheduler that is
    # new, these three are all that it sets.
    spaced = _spaced(1.0, steps)
    shifted = shift * spaced / (1 + (shift - 1) * spaced)
    scheduler.sigmas = torch.from_numpy(np.append(shifted, 0).astype(np.float32))
    scheduler.timesteps = torch.from_numpy((shifted * TRAIN_TIMESTEPS).astype(np.int64))
    scheduler.num_inference_steps = steps
    return scheduler


def _euler(steps: int, shift: float) -> FlowMatchEulerDiscreteScheduler:
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS, shift=shift)
    scheduler.set_timesteps(sigmas=_spaced(1.0, steps).tolist())
    return scheduler


def _spaced(first: float, steps: int) -> NDArray[np.float64]:
    """`steps` sigmas equally spaced from `first` towards 0, which follows as the last."""
    return np.linspace(first, 0, steps + 1)[:-1]
