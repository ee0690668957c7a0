// Compares residual networks' parameters to torchvision's: names, shapes, counts and initial
// values.
import { describe, expect, it } from "vitest";
import { buildModel, models } from "../../lib/models/models.js";
import { compileFor, modelOf } from "../graph/options.js";

function compiled(name: string, changes = {}) {
  const model = modelOf(name);
  return compileFor(model, changes);
}

const count = (tensors: { shape: number[] }[]) =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

describe("torchvision's", () => {
  // torchvision documents num_params; a convolution has one tensor, a batch norm and the classifier two.
  it.each([
    { name: "resnet18", parameters: 11_689_512, tensors: 62 },
    { name: "resnet34", parameters: 21_797_672, tensors: 110 },
    { name: "resnet50", parameters: 25_557_032, tensors: 161 },
    { name: "resnet101", parameters: 44_549_160, tensors: 314 },
    { name: "resnet152", parameters: 60_192_808, tensors: 467 },
    { name: "resnext50_32x4d", parameters: 25_028_904, tensors: 161 },
    { name: "wide_resnet50_2", parameters: 68_883_240, tensors: 161 },
    { name: "vgg11_bn", parameters: 132_868_840, tensors: 38 },
    { name: "vgg13_bn", parameters: 133_053_736, tensors: 46 },
    { name: "vgg16_bn", parameters: 138_365_992, tensors: 58 },
    { name: "vgg19_bn", parameters: 143_678_248, tensors: 70 },
  ])("$name has $parameters parameters in $tensors tensors", ({ name, parameters, tensors }) => {
    const result = compiled(name);
    expect(count(result.parameters)).toBe(parameters);
    expect(result.parameters).toHaveLength(tensors);
    const norms = result.parameters.filter(({ role }) => role === "gamma").length;
    expect(result.statistics).toHaveLength(2 * norms);
    expect(new Set(result.parameters.map((p) => p.name)).size).toBe(tensors);
  });

  it("names and shapes", () => {
    const { parameters, statistics } = compiled("resnet50");
    const shapes = Object.fromEntries([...parameters, ...statistics].map((t) => [t.name, t.shape]));
    expect(shapes).toMatchObject({
      "conv1.weight": [64, 3, 7, 7],
      "bn1.weight": [64],
      "bn1.bias": [64],
      "bn1.running_mean": [64],
      "bn1.running_var": [64],
      "layer1.0.conv1.weight": [64, 64, 1, 1],
      "layer1.0.conv2.weight": [64, 64, 3, 3],
      "layer1.0.conv3.weight": [256, 64, 1, 1],
      "layer1.0.bn3.bias": [256],
      "layer1.0.downsample.0.weight": [256, 64, 1, 1],
      "layer1.0.downsample.1.running_var": [256],
      "layer1.1.conv1.weight": [64, 256, 1, 1],
      "layer2.0.conv2.weight": [128, 128, 3, 3],
      "layer4.2.conv3.weight": [2048, 512, 1, 1],
      "fc.weight": [1000, 2048],
      "fc.bias": [1000],
    });
    expect(shapes["layer1.1.downsample.0.weight"]).toBeUndefined();
    expect(shapes["layer5.0.conv1.weight"]).toBeUndefined();
  });

  it("basic blocks have no shortcut in the first stage", () => {
    const names = compiled("resnet18").parameters.map((p) => p.name);
    expect(names).toContain("layer2.0.downsample.0.weight");
    expect(names).not.toContain("layer1.0.downsample.0.weight");
    expect(names).not.toContain("layer1.0.conv3.weight");
  });
});

describe("for small images", () => {
  // 9·16·1 + 32 for the stem, two 3×3 convolutions with their γ and β a block, 1×1 shortcuts at the
  // second and third stage, 650 for the classifier.
  it.each([
    { name: "resnet8", blocks: 1 },
    { name: "resnet20", blocks: 3 },
    { name: "resnet32", blocks: 5 },
    { name: "resnet56", blocks: 9 },
  ])("$name has depth 6·$blocks + 2", ({ name, blocks }) => {
    const { parameters } = compiled(name);
    const plain = (c: number) => 2 * (9 * c * c + 2 * c);
    const entry = (c: number) => 9 * (c / 2) * c + 9 * c * c + 4 * c + (c / 2) * c + 2 * c;
    const stages =
      blocks * plain(16) + entry(32) + entry(64) + (blocks - 1) * (plain(32) + plain(64));
    expect(count(parameters)).toBe(9 * 16 + 32 + stages + 650);
    const layers = parameters.filter(
      ({ name, role }) => (role === "convolution" || role === "linear") && !/downsample/.test(name),
    );
    expect(layers).toHaveLength(6 * blocks + 2);
  });

  it("resnet6 has a shortcut of its own in both of its blocks", () => {
    const { parameters } = compiled("resnet6");
    const entry = (from: number, to: number) =>
      9 * from * to + 9 * to * to + 4 * to + from * to + 2 * to;
    expect(count(parameters)).toBe(9 * 8 + 16 + entry(8, 16) + entry(16, 32) + 32 * 10 + 10);
    const halving = parameters.filter(({ name }) => /downsample\.0/.test(name));
    expect(halving.map(({ name }) => name).sort()).toEqual([
      "layer1.0.downsample.0.weight",
      "layer2.0.downsample.0.weight",
    ]);
  });
});

describe("every parameter", () => {
  const { parameters } = compiled("resnet50");
  const named = (name: string) => parameters.find((p) => p.name === name)!;

  it("starts as the paper says", () => {
    expect(named("conv1.weight").initial).toEqual({
      kind: "normal",
      std: Math.sqrt(2 / (64 * 7 * 7)),
    });
    expect(named("layer1.0.conv3.weight").initial).toEqual({
      kind: "normal",
      std: Math.sqrt(2 / 256),
    });
    expect(named("fc.weight").initial).toEqual({ kind: "normal", std: 0.01 });
    expect(named("fc.bias").initial).toEqual({ kind: "constant", value: 0 });
    for (const { name, role, initial } of parameters) {
      if (role === "beta") expect(initial, name).toEqual({ kind: "constant", value: 0 });
      const value = /layer\d\.\d+\.bn3/.test(name) ? 0 : 1;
      if (role === "gamma") expect(initial, name).toEqual({ kind: "constant", value });
    }
  });

  it("γ = 0 in the second batch norm of basic blocks", () => {
    const zero = compiled("resnet8").parameters.filter(
      ({ role, initial }) => role === "gamma" && initial.kind === "constant" && initial.value === 0,
    );
    expect(zero.map((p) => p.name).sort()).toEqual([
      "layer1.0.bn2.weight",
      "layer2.0.bn2.weight",
      "layer3.0.bn2.weight",
    ]);
  });

  it("has role γ or β in batch norms alone, shortcuts' too: weight decay depends on it", () => {
    for (const { name, role } of parameters)
      expect(role === "gamma" || role === "beta", name).toBe(/bn\d|downsample\.1/.test(name));
    expect(named("layer1.0.downsample.1.weight").role).toBe("gamma");
    expect(named("fc.bias").role).toBe("bias");
  });

  it("lies at a multiple of 64 bytes in f32 and bf16, the stem with padded channels", () => {
    for (const { offset } of parameters) expect(offset % 128).toBe(0);
    expect(named("conv1.weight").stored).toEqual([64, 7, 7, 4]);
    expect(named("layer1.0.conv2.weight").stored).toEqual([64, 3, 3, 64]);
  });
});

describe("the builder", () => {
  it("puts stride 2 on the 3×3 convolution of bottlenecks", () => {
    const { programs } = compiled("resnet50");
    const line = (label: string) =>
      programs
        .at(-1)!
        .text.split("\n")
        .find((l) => l.includes(" conv2d ") && l.endsWith(`# ${label}`))!;
    expect(line("layer2.0.conv1")).toContain("stride=1,1 padding=0,0");
    expect(line("layer2.0.conv2")).toContain("stride=2,2 padding=1,1");
    expect(line("layer2.0.conv3")).toContain("y=temp");
    expect(line("layer2.0.conv3")).toContain(":f32[2,28,28,512]");
    expect(line("layer4.2.conv2")).toContain("[2,7,7,512]");
  });

  it("takes other images and classes", () => {
    const model = buildModel("resnet20", { channels: 3, classes: 100 });
    const options = {
      image: { height: 32, width: 32 },
      mean: [0.5, 0.5, 0.5],
      std: [0.2, 0.2, 0.2],
    };
    const { parameters } = compileFor(model, options);
    expect(parameters.find((p) => p.name === "fc.weight")!.shape).toEqual([100, 64]);
    expect(parameters.find((p) => p.name === "conv1.weight")!.shape).toEqual([16, 3, 3, 3]);
  });

  it("refuses a name that it does not know", () => {
    const sizes = { channels: 1, classes: 10 };
    expect(() => buildModel("resnet9", sizes)).toThrow(/"resnet9".*resnet8, /);
    expect(() => buildModel("toString", sizes)).toThrow(/no model/);
    expect(Object.keys(models)).toHaveLength(16);
  });
});
