// Rewriting a graph: what a rewrite is, and the editor that keeps who uses which value meanwhile.
import type { Graph, Node, Op, Value } from "./graph.js";

export interface Rewrite {
  /** What becomes what. */
  name: string;
  /** The op that a match is looked for at. */
  at: string;
  /** Kernels that the result needs. */
  needs: readonly string[];
  /** Rewrites around `node` where the pattern matches. */
  rewrite(node: Node, edit: Editor): void;
}

/** Edits a graph: keeps who uses which value while nodes change, move and go. */
export class Editor {
  private readonly slots: (Node | undefined)[];
  private readonly position = new Map<Node, number>();
  private readonly uses = new Map<Value, Set<Node>>();

  constructor(private readonly graph: Graph) {
    this.slots = [...graph.nodes];
    this.slots.forEach((node, i) => {
      if (node === undefined) return;
      this.position.set(node, i);
      for (const value of Object.values(node.inputs)) this.usesOf(value).add(node);
    });
  }

  private usesOf(value: Value): Set<Node> {
    let set = this.uses.get(value);
    if (set === undefined) {
      set = new Set();
      this.uses.set(value, set);
    }
    return set;
  }

  nodes(): Node[] {
    return this.slots.filter((node) => node !== undefined);
  }

  private order(node: Node | undefined): number {
    return (node && this.position.get(node)) ?? -1;
  }

  /** Users of a value in the order in which they run. */
  users(value: Value): Node[] {
    return [...this.usesOf(value)].sort((a, b) => this.order(a) - this.order(b));
  }

  /** Values, those first that are computed last. */
  latestFirst(...values: Value[]): Value[] {
    return values.sort((a, b) => this.order(b.node) - this.order(a.node));
  }

  /** The only user of a value that nothing outside the graph sees. */
  onlyUser(value: Value): Node | undefined {
    const [first, second] = this.users(value);
    return value.storage.arena === "temp" && second === undefined ? first : undefined;
  }

  has(node: Node): boolean {
    return this.position.has(node);
  }

  remove(node: Node): void {
    this.slots[this.position.get(node)!] = undefined;
    this.position.delete(node);
    for (const value of Object.values(node.inputs)) this.usesOf(value).delete(node);
  }

  /** Puts `node` (a new one, or one that moves) where `old` is; `old` goes. */
  replace(old: Node, node: Node): void {
    const at = this.position.get(old)!;
    if (this.has(node)) this.remove(node);
    this.remove(old);
    this.slots[at] = node;
    this.position.set(node, at);
    for (const value of Object.values(node.inputs)) this.usesOf(value).add(node);
    for (const value of Object.values(node.outputs)) value.node = node;
  }

  /** Moves `node` to just before `other`. */
  moveBefore(node: Node, other: Node): void {
    this.slots[this.position.get(node)!] = undefined;
    this.slots.splice(this.position.get(other)!, 0, node);
    this.slots.forEach((each, i) => {
      if (each !== undefined) this.position.set(each, i);
    });
  }

  commit(): void {
    this.graph.nodes = this.nodes();
  }
}

/** A copy of a node with some parts changed; operands set to undefined go. */
export function changed(
  node: Node,
  changes: {
    op?: Op;
    attributes?: Node["attributes"];
    inputs?: Record<string, Value | undefined>;
    outputs?: Record<string, Value>;
  },
): Node {
  const inputs = Object.entries({ ...node.inputs, ...changes.inputs });
  return {
    ...node,
    op: changes.op ?? node.op,
    attributes: { ...node.attributes, ...changes.attributes },
    inputs: Object.fromEntries(
      inputs.filter((entry): entry is [string, Value] => entry[1] !== undefined),
    ),
    outputs: { ...node.outputs, ...changes.outputs },
  };
}
