// Tracing: a program runs as `submit` runs it, with marks around each of its lines.
#include <chrono>
#include <utility>

#include "executor-resources.h"

namespace onehour {

void Executor::trace(const std::string& program, int slot, DoneTracing done) {
  // From the submission's begin to its callback, which may come when the executor is gone.
  struct Tracing {
    std::shared_ptr<MarkPool> pool;
    std::unique_ptr<Marks> marks;
  };
  const auto tracing = std::make_shared<Tracing>();
  const auto read = [backend = backend_.get()](const Marks& marks) {
    const std::chrono::duration<double, std::milli> now = Worker::Clock::now().time_since_epoch();
    Trace trace;
    trace.began = now.count() - backend->milliseconds(*marks.begin, *marks.end);
    trace.times.reserve(marks.lines.size());
    for (const auto& mark : marks.lines) {
      trace.times.push_back(backend->milliseconds(*marks.begin, *mark));
    }
    return trace;
  };
  const Done ended =
      admit(program, slot, [tracing, read, done = std::move(done)](std::exception_ptr error) {
        Trace trace;
        try {
          if (!error) trace = read(*tracing->marks);
        } catch (...) {
          error = std::make_exception_ptr(toError(std::current_exception()));
        }
        if (!error) tracing->pool->giveBack(std::move(tracing->marks));
        done(error, std::move(trace));
      });
  enqueue(
      [this, program, slot, tracing, ended] {
        LoadedProgram& loaded = resources_->programs.at(program);
        try {
          tracing->pool = loaded.marks;
          tracing->marks = loaded.marks->take();
          if (!tracing->marks) tracing->marks = createMarks(loaded);
        } catch (...) {
          fail(toError(std::current_exception()));
        }
        run(loaded, slot, tracing->marks.get(), ended);
      },
      ended);
}

std::unique_ptr<Executor::Marks> Executor::createMarks(const LoadedProgram& program) const {
  auto marks = std::make_unique<Marks>();
  marks->begin = backend_->createMark();
  marks->end = backend_->createMark();
  for (const Action& action : program.actions) {
    if (action.line == 0) continue;
    for (int i = 0; i < 2; ++i) marks->lines.push_back(backend_->createMark());
  }
  return marks;
}

}  // namespace onehour
