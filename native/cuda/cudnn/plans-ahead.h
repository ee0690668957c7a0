// Makes plans on several threads before they are asked for: an engine that is compiled takes
// seconds, one after another those of a network minutes.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "plan-cache.h"
#include "plans.h"

namespace onehour::cuda {

// The plans of a graph, to be made again by `parsePlan` with another handle.
struct MadePlans {
  struct Made {
    std::string json;
    EngineTraits engine;
  };
  std::vector<Made> plans;
  std::string reason;  // why there are no more
  double seconds = 0;  // that it took to make them
  PlanFile file;       // locked until this goes: other processes wait for what it will hold
};

class PlansAhead {
 public:
  // Gives a target that only the calling thread uses, made when it is first asked for.
  using OwnTarget = std::function<const Target&()>;
  // Called on a thread; nothing where another process makes the plans or none are needed.
  using Make = std::function<std::optional<MadePlans>(const OwnTarget&)>;
  using MakeTarget = std::function<std::unique_ptr<Target>()>;

  PlansAhead(int threads, MakeTarget makeTarget);
  // Begins nothing more, and waits for what is being made.
  ~PlansAhead();
  PlansAhead(const PlansAhead&) = delete;
  PlansAhead& operator=(const PlansAhead&) = delete;

  // Begins to make the plans of that name, once.
  void begin(const std::string& name, Make make);

  // The plans of that name, if they were begun. Waits until all that was begun has ended, so that
  // no engine is timed while others are compiled.
  std::optional<MadePlans> take(const std::string& name);

 private:
  struct Job {
    std::string name;
    Make make;
    std::optional<MadePlans> made;
  };

  void work();

  const size_t most_;  // threads
  const MakeTarget makeTarget_;
  std::mutex mutex_;  // guards what follows here
  std::condition_variable ended_;
  std::list<Job> jobs_;
  std::list<Job>::iterator next_ = jobs_.end();  // that none has taken yet
  size_t running_ = 0;                           // threads that may take another
  std::vector<std::thread> threads_;
};

}  // namespace onehour::cuda
