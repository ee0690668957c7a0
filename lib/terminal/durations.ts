// Durations as people say them.

const minute = 60;
const hour = 60 * minute;

const two = (value: number) => String(value).padStart(2, "0");

/**
 * `1 h 02 min`, `3 min 20 s`, `12 s`: of what is left, in steps that do not flicker (5 s from a minute on, whole
 * minutes from ten minutes on).
 */
export function timeLeft(seconds: number): string {
  const step = seconds >= 10 * minute ? minute : seconds >= minute ? 5 : 1;
  const rounded = Math.max(step, Math.round(seconds / step) * step);
  if (rounded >= hour)
    return `${Math.floor(rounded / hour)} h ${two(Math.floor((rounded % hour) / minute))} min`;
  if (rounded >= 10 * minute) return `${rounded / minute} min`;
  if (rounded >= minute) return `${Math.floor(rounded / minute)} min ${two(rounded % minute)} s`;
  return `${rounded} s`;
}
