// The order of an experiment's runs, how long they take, and which of them a budget of time has room for.
import type { Point } from "./points.js";

/** A point with a seed. */
export interface Task {
  point: Point;
  seed: number;
  /** The name of its run's folder. */
  name: string;
}

/** What is known of a task's run. */
export interface TaskState {
  /** Ended for good: with a result, or failed. */
  isOver: boolean;
  isRunning: boolean;
  /** Share of its steps that are done. */
  done: number;
  /** Seconds that it took from beginning to end, where it came to a normal one. */
  seconds?: number;
}

/**
 * All runs in the order in which they are begun: every point has its first seed before any has its second, so
 * whenever the time ends, the points differ by one seed at most; those that come last wait for all seeds of the others.
 */
export function tasksOf(points: readonly Point[], seeds: number, firstSeed: number): Task[] {
  const rounds = (some: readonly Point[]) =>
    Array.from({ length: seeds }, (_, i) => firstSeed + i).flatMap((seed, round) =>
      some
        .filter(({ once }) => round === 0 || !once)
        .map((point) => ({ point, seed, name: `${point.id}-seed-${seed}` })),
    );
  return [false, true].flatMap((isLast) =>
    rounds(points.filter(({ last = false }) => last === isLast)),
  );
}

/** Images that the run of a point trains. */
export function workOf({ recipe }: Point, images: number): number {
  const { epochs = 1, steps, workers = 1, accumulate = 1, batch = 1 } = recipe;
  const all = epochs * images;
  return steps === undefined ? all : Math.min(all, steps * workers * accumulate * batch);
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Estimates the seconds of a task's whole run from those that have ended: of its own point, else of all points by the
 * images that they train. Undefined before any has ended.
 */
export function estimator(
  tasks: readonly Task[],
  stateOf: (task: Task) => TaskState,
  images: number,
): (task: Task) => number | undefined {
  const ended = tasks.flatMap((task) => {
    const { seconds } = stateOf(task);
    return seconds === undefined ? [] : [{ id: task.point.id, seconds, point: task.point }];
  });
  const perImage = mean(ended.map(({ seconds, point }) => seconds / workOf(point, images)));
  return ({ point }) => {
    const own = ended.filter(({ id }) => id === point.id).map(({ seconds }) => seconds);
    if (own.length > 0) return mean(own);
    return ended.length > 0 ? perImage * workOf(point, images) : undefined;
  };
}

/** What there is to decide on. */
export interface Course {
  tasks: readonly Task[];
  stateOf: (task: Task) => TaskState;
  /** Of the training set. */
  images: number;
  /** Seconds until the budget is spent; infinite without one. */
  left: number;
}

/** Of a task, the seconds that are still to come. */
function rest(course: Course): (task: Task) => number | undefined {
  const estimate = estimator(course.tasks, course.stateOf, course.images);
  return (task) => {
    const { isOver, done } = course.stateOf(task);
    const all = estimate(task);
    return isOver ? 0 : all === undefined ? undefined : all * (1 - done);
  };
}

/** By how much a run may take longer than expected, its start included. */
const slack = 1.1;

/**
 * The next run to begin or to continue: the first that is neither over nor running. None where it is not expected to
 * end within the budget; one whose length nobody knows yet is begun.
 */
export function nextTask(course: Course): Task | undefined {
  const { tasks, stateOf, left } = course;
  if (left <= 0) return undefined;
  const next = tasks.find((task) => !stateOf(task).isOver && !stateOf(task).isRunning);
  if (!next) return undefined;
  const seconds = rest(course)(next);
  return seconds !== undefined && slack * seconds > left ? undefined : next;
}

/**
 * Seconds until the end, with so many runs side by side: of all that is left to run, or until the budget is spent.
 * Undefined while nothing is known.
 */
export function secondsLeft(course: Course, jobs: number): number | undefined {
  const { tasks, stateOf, left } = course;
  const rests = tasks.filter((task) => !stateOf(task).isOver).map(rest(course));
  if (rests.some((seconds) => seconds === undefined))
    return Number.isFinite(left) ? Math.max(0, left) : undefined;
  const all = rests.reduce<number>((sum, seconds) => sum + seconds!, 0);
  // Not less than the longest of them: a run has one process.
  const longest = Math.max(0, ...rests.map((seconds) => seconds!));
  return Math.max(0, Math.min(left, Math.max(all / jobs, longest)));
}
