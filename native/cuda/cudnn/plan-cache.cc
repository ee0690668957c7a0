// A file is {"name":"…","plan":…} on one line; its own name is a digest of that name. A second file
// holds what was tried, {"name":"…","seconds":…,"trials":[…]}.
#include "plan-cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>
#include <utility>

#include "../../core/error.h"
#include "../../core/file-lock.h"

namespace onehour::cuda {
namespace {

constexpr const char* trailer = "}\n";

// 64-bit FNV-1a, in hexadecimal. The name in the file reveals a collision.
std::string digest(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char character : text) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001b3;
  }
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

// Characters that need an escape in JSON have no place in a name.
std::string plain(std::string name) {
  for (char& character : name) {
    if (character < ' ' || character == '"' || character == '\\') character = '_';
  }
  return name;
}

}  // namespace

std::filesystem::path planFolder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::filesystem::path(cache) / "onehour/plans";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') {
    return std::filesystem::path(home) / ".cache/onehour/plans";
  }
  return {};
}

PlanFile::PlanFile(const std::filesystem::path& folder, std::string name)
    : name_(plain(std::move(name))) {
  if (folder.empty()) return;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (!failed) path_ = folder / (digest(name_) + ".json");
}

PlanFile::~PlanFile() {
  if (lock_ >= 0) close(lock_);
}

PlanFile::PlanFile(PlanFile&& other) noexcept
    : name_(std::move(other.name_)),
      path_(std::move(other.path_)),
      lock_(std::exchange(other.lock_, -1)) {}

PlanFile& PlanFile::operator=(PlanFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

std::string PlanFile::header() const { return "{\"name\":\"" + name_ + "\",\"plan\":"; }

std::optional<std::string> PlanFile::read() const {
  if (path_.empty()) return {};
  std::ifstream file(path_, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string start = header();
  if (!file || !text.starts_with(start) || !text.ends_with(trailer)) return {};
  text.resize(text.size() - std::char_traits<char>::length(trailer));
  return text.substr(start.size());
}

void PlanFile::write(const std::string& json) const { replace(".json", header() + json + trailer); }

void PlanFile::writeTrials(const std::string& json) const {
  replace(".search", "{\"name\":\"" + name_ + "\"," + json.substr(1) + "\n");
}

void PlanFile::replace(const char* ending, const std::string& text) const {
  if (path_.empty()) return;
  std::filesystem::path file = path_;
  file.replace_extension(ending);
  std::filesystem::path temporary = path_;
  temporary.replace_extension(std::to_string(getpid()));
  std::error_code failed;
  {
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << text;
    stream.close();
    if (stream)
      std::filesystem::rename(temporary, file, failed);
    else
      failed = std::make_error_code(std::errc::io_error);
  }
  if (failed) std::filesystem::remove(temporary, failed);
}

bool PlanFile::openLock() {
  if (path_.empty()) return false;
  if (lock_ < 0) {
    std::filesystem::path path = path_;
    path.replace_extension(".lock");
    lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  }
  return lock_ >= 0;
}

bool PlanFile::tryLock() {
  try {
    return !openLock() || tryLockFile(lock_) != FileLock::held;
  } catch (const Error&) {
    return true;  // a lock saves work, no more
  }
}

void PlanFile::lock(double seconds) {
  const auto start = std::chrono::steady_clock::now();
  while (!tryLock() &&
         std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace onehour::cuda
