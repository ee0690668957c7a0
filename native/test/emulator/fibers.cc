// A fiber is a stack and the place where it was left; switching saves the registers that a call
// must keep.
#include "fibers.h"

#include <sys/mman.h>

#include <array>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if defined(__x86_64__)
// void onehour_switch(void** from, void* to): leaves the stack pointer in *from and goes on at
// `to`.
asm(R"(
.text
.type onehour_switch, @function
onehour_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size onehour_switch, . - onehour_switch
)");
extern "C" void onehour_switch(void** from, void* to);
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace onehour::emulator {
namespace {

constexpr size_t stackBytes = 64 * 1024;

// A place to go on at.
struct Context {
#if defined(__x86_64__)
  void* stackPointer = nullptr;
#else
  ucontext_t saved{};
#endif
  void* fakeStack = nullptr;  // AddressSanitizer's
  const void* stack = nullptr;
  size_t bytes = 0;
};

void switchTo(Context& from, Context& to, bool forGood = false) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(forGood ? nullptr : &from.fakeStack, to.stack, to.bytes);
#else
  static_cast<void>(forGood);
#endif
#if defined(__x86_64__)
  onehour_switch(&from.stackPointer, to.stackPointer);
#else
  swapcontext(&from.saved, &to.saved);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
#endif
}

struct Fiber {
  Context context;
  bool finished = false;
  uint64_t exchanges = 0;           // made
  std::array<uint64_t, 2> given{};  // by parity of the exchange
};

// A block while it runs; there is one a thread of the host.
struct Block {
  const std::function<void(int)>* body = nullptr;
  std::vector<Fiber> fibers;
  Context scheduler;
  int current = 0;
  int count = 0;
  int arrived = 0;        // at the barrier
  uint64_t barriers = 0;  // passed
  bool progress = false;  // some fiber went on since the scheduler looked last
  std::exception_ptr error;
};

class Stacks {
 public:
  ~Stacks() {
    for (void* stack : stacks_) munmap(stack, stackBytes);
  }
  void* at(size_t index) {
    while (stacks_.size() <= index) {
      void* stack =
          mmap(nullptr, stackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (stack == MAP_FAILED) throw std::bad_alloc();
      stacks_.push_back(stack);
    }
    return stacks_[index];
  }

 private:
  std::vector<void*> stacks_;
};

thread_local Stacks stacks;
thread_local Block* running = nullptr;

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &running->scheduler.stack, &running->scheduler.bytes);
#endif
  Block& block = *running;
  try {
    (*block.body)(block.current);
  } catch (...) {
    if (!block.error) block.error = std::current_exception();
  }
  Fiber& fiber = block.fibers[static_cast<size_t>(block.current)];
  fiber.finished = true;
  block.progress = true;
  switchTo(fiber.context, block.scheduler, true);
}

void prepare(Fiber& fiber, void* stack) {
  fiber.context.stack = stack;
  fiber.context.bytes = stackBytes;
#if defined(__x86_64__)
  // As if `enter` had been left by a switch: six registers and the address to return to. At a
  // function's entry the stack pointer is 8 past a multiple of 16.
  auto* top = reinterpret_cast<void**>(static_cast<char*>(stack) + stackBytes - 8);
  *top-- = nullptr;
  *top = reinterpret_cast<void*>(&enter);
  fiber.context.stackPointer = top - 6;
#else
  getcontext(&fiber.context.saved);
  fiber.context.saved.uc_stack.ss_sp = stack;
  fiber.context.saved.uc_stack.ss_size = stackBytes;
  makecontext(&fiber.context.saved, enter, 0);
#endif
}

Fiber& self() { return running->fibers[static_cast<size_t>(running->current)]; }

// Lets others run; returns when the scheduler comes back to this fiber.
void yield() { switchTo(self().context, running->scheduler); }

// Waits until `ready`; the fiber then goes on.
template <typename Ready>
void waitUntil(const Ready& ready) {
  while (!ready()) yield();
  running->progress = true;
}

}  // namespace

void runBlock(int count, uint32_t seed, const std::function<void(int)>& body) {
  Block block;
  block.body = &body;
  block.count = count;
  block.fibers.resize(static_cast<size_t>(count));
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) {
    seed = seed * 1664525u + 1013904223u;
    std::swap(order[i - 1], order[(seed >> 8) % i]);
  }
  for (size_t i = 0; i < order.size(); ++i) prepare(block.fibers[i], stacks.at(i));
  running = &block;
  for (size_t left = order.size(); left > 0;) {
    block.progress = false;
    left = 0;
    for (const int thread : order) {
      Fiber& fiber = block.fibers[static_cast<size_t>(thread)];
      if (fiber.finished) continue;
      block.current = thread;
      switchTo(block.scheduler, fiber.context);
      left += fiber.finished ? 0 : 1;
    }
    if (block.error) break;  // the others' stacks are reused as they are
    if (left > 0 && !block.progress) {
      block.error = std::make_exception_ptr(std::logic_error(
          std::to_string(left) + " of " + std::to_string(count) +
          " threads of a block wait at a barrier or shuffle that the others never reach"));
      break;
    }
  }
  running = nullptr;
  if (block.error) std::rethrow_exception(block.error);
}

void waitForBlock() {
  Block& block = *running;
  const uint64_t passed = block.barriers;
  block.progress = true;
  if (++block.arrived == block.count) {
    block.arrived = 0;
    ++block.barriers;
  }
  waitUntil([&] { return block.barriers > passed; });
}

uint64_t exchange(uint32_t mask, uint64_t bits, int from) {
  Block& block = *running;
  const int first = block.current / warpSize * warpSize;
  const uint64_t mine = ++self().exchanges;
  self().given[mine % 2] = bits;
  block.progress = true;
  const auto lane = [&](int index) -> Fiber& {
    return block.fibers[static_cast<size_t>(first + index)];
  };
  waitUntil([&] {
    for (int index = 0; index < warpSize && first + index < block.count; ++index) {
      if ((mask >> index & 1) != 0 && lane(index).exchanges < mine) return false;
    }
    return true;
  });
  const bool exists = from >= 0 && from < warpSize && first + from < block.count;
  return exists ? lane(from).given[mine % 2] : bits;
}

}  // namespace onehour::emulator
