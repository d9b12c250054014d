/* mlk.h -- all kernels. An exported header includes it. */
#ifndef MLK_H
#define MLK_H
#include "mlk_base.h"
#include "mlk_conv.h"
#include "mlk_dense.h"
#include "mlk_dsp.h"
#include "mlk_head.h"
#include "mlk_pool.h"

/* MLK_FAST: the kernels written for the processor, which want the zero point of the input folded into the bias.
   MLK_DENSE, defined before this header, puts another dense kernel in their place: void kernel(const mlk_layer *, in, out). */
#ifdef MLK_FAST
#ifndef MLK_FOLD
#define MLK_FOLD
#endif
#ifndef MLK_DENSE
#define MLK_DENSE mlk_dense_fast
#endif
#endif
#ifndef MLK_DENSE
#define MLK_DENSE mlk_dense
#endif
#endif
