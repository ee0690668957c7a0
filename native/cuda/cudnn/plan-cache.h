// Cache of chosen plans: one file per name, written atomically by the first process that searches.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace onehour::cuda {

// ${XDG_CACHE_HOME:-~/.cache}/onehour/plans; empty where there is no home.
std::filesystem::path planFolder();

class PlanFile {
 public:
  // `name` must not hold characters that JSON escapes.
  PlanFile(const std::filesystem::path& folder, std::string name);
  ~PlanFile();
  PlanFile(PlanFile&& other) noexcept;
  PlanFile& operator=(PlanFile&& other) noexcept;

  // The JSON value that was written under this name, whole; nothing when there is none, it cannot
  // be read, or it is not what `write` writes.
  std::optional<std::string> read() const;

  // Puts the value into the place of any earlier one. Does nothing where files cannot be written.
  void write(const std::string& json) const;

  // Puts what was tried, a JSON object, into a file of its own, for people: {"name":…, then its
  // members.
  void writeTrials(const std::string& json) const;

  // Makes other processes that lock the same name wait until this object goes, or waits for them,
  // at most `seconds`: a process that waited in vain does the work a second time, which is
  // harmless.
  void lock(double seconds);

  // The same without waiting; false where another process has the lock. True without files, and
  // where the file system has no locks: then each process does the work itself.
  bool tryLock();

 private:
  std::string header() const;
  // Whether there is a file to lock.
  bool openLock();
  void replace(const char* ending, const std::string& text) const;

  std::string name_;
  std::filesystem::path path_;  // empty: no files
  int lock_ = -1;
};

}  // namespace onehour::cuda
