// Makes this process' clocks jump: the time of day both ways, the monotonic clock forward only.

let wall = 0;
let steady = 0;
let installed = false;

function install(): void {
  if (installed) return;
  installed = true;
  const now = Date.now;
  const since = performance.now.bind(performance);
  Date.now = () => now() + wall;
  performance.now = () => since() + steady;
}

/** Moves both clocks; the monotonic one stands still where the other goes back. */
export function jump(milliseconds: number): void {
  install();
  wall += milliseconds;
  steady += Math.max(0, milliseconds);
}
