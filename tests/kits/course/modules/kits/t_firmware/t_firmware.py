# %% [markdown]
# # A matrix on an Uno
# The program multiplies a fixed int8 matrix by a vector that comes over the serial line. You write the part that computes.

# %%
import numpy as np

from mlsysbook import Firmware, case, check

WEIGHT = np.array([[3, -1, 20, 7], [15, 40, -22, 1]], np.int8)

# %% solution="weights_text"
def weights_text(weight):
    """The matrix (O, I) as the body of a C initialiser: "3,-1,20,7,15,40,-22,1"."""
    ### BEGIN SOLUTION
    return ",".join(str(v) for v in weight.ravel())
    ### END SOLUTION

# %% solution="body_text"
def body_text():
    """C that leaves clip((W x) >> 4) in y: W[MODEL_OUTPUTS * MODEL_INPUTS] is in flash, x and y are int8 arrays."""
    ### BEGIN SOLUTION
    return """
    for (uint8_t o = 0; o < MODEL_OUTPUTS; o++) {
        int32_t sum = 0;
        for (uint8_t i = 0; i < MODEL_INPUTS; i++) sum += (int16_t)mlk_rom_i8(W + o * MODEL_INPUTS + i) * x[i];
        sum >>= 4;
        y[o] = (int8_t)(sum < -128 ? -128 : sum > 127 ? 127 : sum);
    }"""
    ### END SOLUTION

# %% check="matrix" points=8 covers="weights_text,body_text"
def product():
    """What the program is built of: the text of model.h, and the matrix that is in it."""
    outputs, inputs = WEIGHT.shape
    header = f"""#include <stdint.h>
#include <string.h>
#define MODEL_INPUTS {inputs}
#define MODEL_OUTPUTS {outputs}
#define MODEL_DIGEST 0x1234u
#define MODEL_NAME "matrix"
static int8_t model_x[MODEL_INPUTS], model_y[MODEL_OUTPUTS];
#define MODEL_INPUT model_x
#define MODEL_OUTPUT model_y
static const int8_t W[] MLK_ROM = {{ {weights_text(WEIGHT)} }};
static void model_run(void)
{{
    const int8_t *x = model_x;
    int8_t *y = model_y;
    {body_text()}
}}
"""
    return {"model.h": header, "weight": WEIGHT}


def right(product, x):
    """What it must answer, whatever machine it runs on."""
    return np.clip((WEIGHT.astype(np.int32) @ x) >> 4, -128, 127).astype(np.int8)


check("matrix", [case(np.array([1, 2, 3, 4], np.int8)), case(np.array([-128, 127, 0, 5], np.int8))], call=product,
      firmware=Firmware("serve", "simavr:atmega328p", "model.h", right, flash=8000, ram=600, cycles=60_000))

# %% hidden="matrix"
def cases(rng):
    for _ in range(4):
        yield case(rng.integers(-20, 20, 4).astype(np.int8), behaviour="equal to the last bit")
    for _ in range(2):
        yield case(rng.choice([-128, 127], 4).astype(np.int8), behaviour="saturates at both ends")
