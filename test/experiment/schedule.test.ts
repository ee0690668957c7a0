// The order of an experiment's runs under a budget, on a clock that the test turns.
import { expect, test } from "vitest";
import type { Point } from "../../lib/experiment/points.js";
import {
  estimator,
  nextTask,
  secondsLeft,
  type Task,
  type TaskState,
  tasksOf,
  workOf,
} from "../../lib/experiment/schedule.js";

const point = (id: string, fields: Point["recipe"] = {}, once?: true): Point => ({
  ...{ id, label: id, recipe: { epochs: 2, ...fields } },
  ...(once ? { once } : {}),
});
const names = (tasks: readonly Task[]) => tasks.map(({ name }) => name);
const images = 100;
const idle: TaskState = { isOver: false, isRunning: false, done: 0 };
const ended = (seconds: number): TaskState => ({ ...idle, isOver: true, done: 1, seconds });

/** States by task name; all others have not begun. */
const states =
  (known: Record<string, TaskState>) =>
  ({ name }: Task) =>
    known[name] ?? idle;

test("each point has its first seed before any has its second", () => {
  const points = [point("a"), point("b"), point("short", { steps: 3 }, true)];
  expect(names(tasksOf(points, 3, 7))).toEqual([
    ...["a-seed-7", "b-seed-7", "short-seed-7"],
    ...["a-seed-8", "b-seed-8"],
    ...["a-seed-9", "b-seed-9"],
  ]);
  expect(names(tasksOf(points, 1, 0))).toEqual(["a-seed-0", "b-seed-0", "short-seed-0"]);
});

test("what comes last waits for all seeds of the others, and is dealt round by round too", () => {
  const late = (id: string): Point => ({ ...point(id), last: true });
  const tasks = names(tasksOf([late("y"), point("a"), late("z"), point("b")], 2, 0));
  expect(tasks).toEqual([
    ...["a-seed-0", "b-seed-0", "a-seed-1", "b-seed-1"],
    ...["y-seed-0", "z-seed-0", "y-seed-1", "z-seed-1"],
  ]);
});

test("wherever the time ends, points differ by one seed at most", () => {
  const points = ["a", "b", "c", "d"].map((id) => point(id));
  const tasks = tasksOf(points, 5, 0);
  for (let left = 0; left <= 230; left += 5) {
    // One run after the other, 10 s each, as the budget has room for.
    const known: Record<string, TaskState> = {};
    let budget = left;
    for (;;) {
      const task = nextTask({ tasks, stateOf: states(known), images, left: budget });
      if (!task) break;
      known[task.name] = ended(10);
      budget -= 10;
    }
    const counts = points.map(
      ({ id }) => tasks.filter((t) => t.point.id === id && known[t.name]).length,
    );
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    if (left >= 220) expect(counts).toEqual([5, 5, 5, 5]);
    expect(budget).toBeGreaterThanOrEqual(left === 0 ? 0 : -5); // the first run's length is not known
  }
});

test("a run that is not expected to end in time is not begun, nor any after it", () => {
  const tasks = tasksOf([point("a"), point("b", { epochs: 8 }), point("c")], 1, 0);
  const stateOf = states({ "a-seed-0": ended(10) });
  const at = (left: number) => nextTask({ tasks, stateOf, images, left })?.name;
  expect(at(100)).toBe("b-seed-0"); // four times the images
  expect(at(44.1)).toBe("b-seed-0");
  expect(at(43)).toBeUndefined();
  expect(at(0)).toBeUndefined();
  expect(at(Number.POSITIVE_INFINITY)).toBe("b-seed-0");
});

test("what was begun counts for its rest alone, and what runs is not begun again", () => {
  const tasks = tasksOf([point("a"), point("b"), point("c")], 1, 0);
  const known = {
    "a-seed-0": ended(10),
    "b-seed-0": { ...idle, done: 0.75 },
  };
  expect(nextTask({ tasks, stateOf: states(known), images, left: 3 })?.name).toBe("b-seed-0");
  expect(nextTask({ tasks, stateOf: states(known), images, left: 2 })).toBeUndefined();
  const running = { ...known, "b-seed-0": { ...idle, isRunning: true, done: 0.75 } };
  expect(nextTask({ tasks, stateOf: states(running), images, left: 12 })?.name).toBe("c-seed-0");
  const all = { ...running, "c-seed-0": { ...idle, isRunning: true } };
  expect(nextTask({ tasks, stateOf: states(all), images, left: 12 })).toBeUndefined();
});

test("a point's own runs estimate it, otherwise all runs by their images", () => {
  const tasks = tasksOf([point("a"), point("b", { epochs: 4 }), point("c", { steps: 5 })], 2, 0);
  const none = estimator(tasks, states({}), images);
  expect(none(tasks[0]!)).toBeUndefined();
  const known = { "a-seed-0": ended(10), "b-seed-0": ended(60) };
  const estimate = estimator(tasks, states(known), images);
  expect(tasks.slice(0, 2).map(estimate)).toEqual([10, 60]);
  // 10 s for 200 images and 60 s for 400: 0.1 s an image in the mean; c has five.
  expect(estimate(tasks[2]!)).toBeCloseTo(0.5, 12);
  // A run that diverged early or failed estimates nothing.
  const failed = { "a-seed-0": { ...idle, isOver: true, done: 1 } };
  expect(estimator(tasks, states(failed), images)(tasks[0]!)).toBeUndefined();
});

test("the images of a run are those of its epochs, or of its steps where these are fewer", () => {
  const step = { workers: 2, accumulate: 4, batch: 32 };
  expect(workOf(point("a", { epochs: 3 }), 1000)).toBe(3000);
  expect(workOf(point("a", { epochs: 3, steps: 2, ...step }), 1000)).toBe(512);
  expect(workOf(point("a", { epochs: 3, steps: 200, ...step }), 1000)).toBe(3000);
});

test("the time left is that of what remains, side by side, within the budget", () => {
  const tasks = tasksOf([point("a"), point("b"), point("c"), point("d")], 1, 0);
  const stateOf = states({
    "a-seed-0": ended(10),
    "b-seed-0": { ...idle, isRunning: true, done: 0.5 },
  });
  const course = { tasks, stateOf, images };
  expect(secondsLeft({ ...course, left: 100 }, 1)).toBeCloseTo(25, 12);
  expect(secondsLeft({ ...course, left: 100 }, 2)).toBeCloseTo(12.5, 12);
  expect(secondsLeft({ ...course, left: 100 }, 50)).toBeCloseTo(10, 12); // a run has one process
  expect(secondsLeft({ ...course, left: 4 }, 1)).toBe(4);
  expect(secondsLeft({ ...course, left: -4 }, 1)).toBe(0);
  const unknown = { tasks, stateOf: states({}), images };
  expect(secondsLeft({ ...unknown, left: 60 }, 2)).toBe(60);
  expect(secondsLeft({ ...unknown, left: Number.POSITIVE_INFINITY }, 2)).toBeUndefined();
  const all = Object.fromEntries(tasks.map(({ name }) => [name, ended(1)]));
  expect(secondsLeft({ tasks, stateOf: states(all), images, left: 60 }, 2)).toBe(0);
});
