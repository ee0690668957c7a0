// What Goyal et al. 2017 report, top-1 errors of ResNet-50 on ImageNet in %.

/** Figure 1: the error by minibatch, with gradual warm-up. */
export const paperFigure1: Readonly<Record<number, number>> = {
  128: 23.49,
  256: 23.6,
  512: 23.48,
  1024: 23.53,
  2048: 23.49,
  4096: 23.56,
  8192: 23.74,
  16384: 24.79,
  32768: 27.55,
  65536: 33.96,
};

/** Table 1: warm-ups at 8,192 images beside the baseline of 256, with their deviations over five seeds. */
export const paperTable1 = {
  baseline: { error: 23.6, deviation: 0.12 },
  gradual: { error: 23.74, deviation: 0.09 },
  none: { error: 24.84, deviation: 0.37 },
  constant: { error: 25.88, deviation: 0.56 },
} as const;

/**
 * Table 2 and the γ of section 5.1: at 256 images, and at 8,192 by the linear rule but where the rule is another. Half
 * and twice the rate are 0.05 and 0.2.
 */
export const paperTable2 = {
  baseline: { as: 23.6, half: 23.92, double: 23.68, root: null, unscaled: null, gamma: 23.84 },
  large: { as: 23.74, half: 24.27, double: 24.05, root: 26.22, unscaled: 41.67, gamma: 24.11 },
} as const;

/** The paper's large minibatch. */
export const paperLarge = 8192;
