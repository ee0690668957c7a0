// A clock that no change of the time of day moves.

/** Seconds since this process began. */
export const seconds = (): number => performance.now() / 1000;
