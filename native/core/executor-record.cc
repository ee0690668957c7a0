// Recording programs, so that a device replays each as a whole, and measuring them kernel by
// kernel.
#include <utility>

#include "executor-resources.h"
#include "progress.h"

namespace onehour {

void Executor::record(DoneRecording done) {
  const auto reason = std::make_shared<std::string>();
  enqueueJob(
      [this, reason] {
        try {
          if (!recordAll())
            *reason = "the device " + backend_->properties().kind + " cannot record programs";
        } catch (...) {
          *reason = toError(std::current_exception()).what();
        }
        recording_ = false;
        if (!reason->empty()) forgetNow();
      },
      [reason, done = std::move(done)](std::exception_ptr error) {
        done(std::move(error), *reason);
      });
}

// False where the device cannot record; throws where a kernel cannot be recorded.
bool Executor::recordAll() {
  backend_->synchronize(stream(kPrimaryStream));  // kernels in flight still report their own errors
  recording_ = true;
  for (const auto& [name, slotted] : programs_) {  // in one order on all ranks
    LoadedProgram& program = resources_->programs.at(name);
    program.recordings.clear();
    for (int slot = 0; slot < (slotted ? slots_ : 1); ++slot) {
      auto recorded = backend_->record(stream(kPrimaryStream), [&] {
        enqueueActions(program, slot, ++resources_->generation, nullptr);
      });
      if (!recorded) return false;
      program.recordings.push_back(std::move(recorded));
      progress::advance();
    }
  }
  return true;
}

void Executor::forget(Done done) {
  enqueueJob([this] { forgetNow(); }, std::move(done));
}

// Recordings may still run: they go when the device has finished with them.
void Executor::forgetNow() {
  backend_->synchronize(stream(kPrimaryStream));
  for (auto& [name, program] : resources_->programs) program.recordings.clear();
}

void Executor::measure(const std::string& program, int slot, int repeats, DoneMeasuring done) {
  const auto timings = std::make_shared<std::vector<Timing>>();
  enqueueJob(
      [this, program, slot, repeats, timings] {
        const auto found = resources_->programs.find(program);
        if (found == resources_->programs.end() || slot < 0 || slot >= slots_) {
          throw Error(
              "ERR_USAGE", "onehour",
              "no program \"" + program + "\" with a slot " + std::to_string(slot) + " is loaded");
        }
        *timings = measureNow(found->second, slot, repeats);
      },
      [timings, done = std::move(done)](std::exception_ptr error) {
        done(std::move(error), std::move(*timings));
      });
}

// Runs one kernel at a time, each on its stream, with a mark before it and one after it.
std::vector<Executor::Timing> Executor::measureNow(LoadedProgram& program, int slot, int repeats) {
  std::vector<Timing> timings;
  std::vector<std::pair<std::unique_ptr<Mark>, std::unique_ptr<Mark>>> marks;
  for (const Action& action : program.actions) {
    if (action.kind != Action::Kind::launch) continue;
    timings.push_back({forSlot(action.kernels, slot).line(), {}});
    marks.emplace_back(backend_->createMark(), backend_->createMark());
  }
  const std::unique_ptr<Event> end = backend_->createEvent();
  Stream& primary = stream(kPrimaryStream);
  Stream* last = &primary;
  const auto moveTo = [&](Stream& next) {
    if (&next == last) return;
    const uint64_t generation = ++resources_->generation;
    backend_->signal(*last, *end, generation);
    backend_->wait(next, *end, generation);
    last = &next;
  };
  for (int repeat = 0; repeat < repeats; ++repeat) {
    size_t at = 0;
    for (const Action& action : program.actions) {
      if (action.kind != Action::Kind::launch) continue;
      moveTo(*action.stream);
      backend_->mark(*last, *marks[at].first);
      backend_->launch(*last, forSlot(action.kernels, slot));
      backend_->mark(*last, *marks[at].second);
      ++at;
    }
    moveTo(primary);
    backend_->synchronize(primary);
    if (failed()) std::rethrow_exception(failure());
    for (size_t i = 0; i < timings.size(); ++i) {
      timings[i].milliseconds.push_back(backend_->milliseconds(*marks[i].first, *marks[i].second));
    }
  }
  return timings;
}

}  // namespace onehour
