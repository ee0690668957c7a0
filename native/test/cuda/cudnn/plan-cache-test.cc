// Tests of the files that keep cuDNN's plans.
#include "../../../cuda/cudnn/plan-cache.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "../../../cuda/cudnn/search-record.h"
#include "../../check.h"

namespace {

int refusal = 0;  // the error with which flock ends instead

}  // namespace

extern "C" int flock(int descriptor, int operation) noexcept {
  if (refusal == 0) return static_cast<int>(syscall(SYS_flock, descriptor, operation));
  errno = refusal;
  return -1;
}

namespace onehour::test {
namespace {

using cuda::PlanFile;
namespace fs = std::filesystem;

// A folder that goes when the test ends.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "onehour-plans-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw Error("ERR", "test", "cannot make " + name);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

  // The one file of a plan in it.
  fs::path file() const {
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (entry.path().extension() == ".json") return entry.path();
    }
    return {};
  }

 private:
  fs::path path_;
};

void keepsWhatWasWritten() {
  const Folder folder;
  const PlanFile file(folder.path() / "deeper", "graph on \"device\"");
  CHECK(!file.read());
  file.write("{\"engine\":38}");
  CHECK(PlanFile(folder.path() / "deeper", "graph on \"device\"").read() == "{\"engine\":38}");
  file.write("null");
  CHECK(file.read() == "null");
  CHECK(!PlanFile(folder.path() / "deeper", "another graph").read());
}

void recordsWhatWasTried() {
  const Folder folder;
  const PlanFile file(folder.path(), "a graph");
  cuda::SearchRecord record;
  record.add("engine 38", true, true, 0.125f);
  record.add("several kernels", false, false, std::nullopt);
  file.write("{}");
  file.writeTrials(record.json());
  CHECK(file.read() == "{}");
  fs::path path = folder.file();
  std::ifstream stream(path.replace_extension(".search"));
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  CHECK(text.starts_with("{\"name\":\"a graph\",\"seconds\":0."));
  CHECK(
      text.ends_with(",\"trials\":[{\"engine\":\"engine 38\",\"fused\":true,\"repeats\":true,"
                     "\"milliseconds\":0.125000},{\"engine\":\"several kernels\",\"fused\":false,"
                     "\"repeats\":false,\"milliseconds\":null}]}\n"));
}

void ignoresWhatItDidNotWrite() {
  const Folder folder;
  const PlanFile file(folder.path(), "a graph");
  file.write("{\"engine\":38}");
  const fs::path path = folder.file();
  CHECK(path.filename().string().size() == 21);  // a digest of 16 digits and the suffix
  fs::resize_file(path, fs::file_size(path) - 3);
  CHECK(!file.read());
  std::ofstream(path) << "{\"name\":\"another graph\",\"plan\":{}}\n";
  CHECK(!file.read());
  std::ofstream(path) << "";
  CHECK(!file.read());
}

void leavesNothingHalfWritten() {
  const Folder folder;
  const PlanFile file(folder.path(), "a graph");
  for (int i = 0; i < 3; ++i) file.write("{}");
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}

void worksWithoutAFolder() {
  for (const fs::path& folder : {fs::path(), fs::path("/proc/none")}) {
    PlanFile file(folder, "a graph");
    file.lock(0);
    file.write("{}");
    CHECK(!file.read());
  }
}

void findsTheFolder() {
  setenv("HOME", "/home/someone", 1);
  unsetenv("XDG_CACHE_HOME");
  CHECK(cuda::planFolder() == "/home/someone/.cache/onehour/plans");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  CHECK(cuda::planFolder() == "/cache/onehour/plans");
  setenv("XDG_CACHE_HOME", "not/absolute", 1);
  CHECK(cuda::planFolder() == "/home/someone/.cache/onehour/plans");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  CHECK(cuda::planFolder().empty());
}

// A child that holds the lock writes before it ends; the parent waits for that.
void waitsForTheFirst() {
  const Folder folder;
  int ready[2];
  CHECK(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    PlanFile file(folder.path(), "a graph");
    file.lock(10);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    usleep(200'000);
    file.write("{\"by\":\"the first\"}");
    _exit(0);
  }
  char byte = 0;
  CHECK(read(ready[0], &byte, 1) == 1);
  PlanFile file(folder.path(), "a graph");
  const auto start = std::chrono::steady_clock::now();
  PlanFile impatient(folder.path(), "a graph");
  impatient.lock(0.05);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  file.lock(30);
  CHECK(file.read() == "{\"by\":\"the first\"}");
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(ready[0]);
  close(ready[1]);
}

void worksWithoutLocks() {
  const Folder folder;
  PlanFile holder(folder.path(), "a graph");
  CHECK(holder.tryLock());
  PlanFile file(folder.path(), "a graph");
  CHECK(!file.tryLock());
  for (const int error : {ENOLCK, EOPNOTSUPP, ENOSYS, EIO}) {
    refusal = error;
    CHECK(file.tryLock());
  }
  refusal = 0;
  CHECK(!file.tryLock());
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"a plan's file keeps what was written", keepsWhatWasWritten},
      {"a second file records what was tried", recordsWhatWasTried},
      {"what is cut off or of another name is ignored", ignoresWhatItDidNotWrite},
      {"nothing is left half written", leavesNothingHalfWritten},
      {"without a folder nothing is kept", worksWithoutAFolder},
      {"the folder follows XDG_CACHE_HOME and HOME", findsTheFolder},
      {"a second process waits for the first one's plan", waitsForTheFirst},
      {"a file system without locks makes nobody wait", worksWithoutLocks},
  });
}
