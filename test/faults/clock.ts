// The clocks of this process with jumps in them: that of the day both ways, the steady one forward.

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

/** Moves both clocks; the steady one stands still where the other goes back. */
export function jump(milliseconds: number): void {
  install();
  wall += milliseconds;
  steady += Math.max(0, milliseconds);
}
