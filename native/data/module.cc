// The module that Node loads to decode images: its one class, and the environment's end.
#include <napi.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../addon/environment.h"
#include "../addon/errors.h"
#include "../addon/promise.h"
#include "../addon/values.h"
#include "../core/library-versions.h"
#include "../core/progress.h"
#include "../core/words.h"
#include "decoders.h"
#include "jpeg.h"
#include "limits.h"

namespace onehour::addon {
namespace {

using data::CropDraws;
using data::Decoders;
using data::Jitter;
using data::Outcome;
using data::Treatment;

constexpr int64_t kMostSide = 1 << 14;  // pixels
constexpr int64_t kColors = 3;
// Draws of an image: areas, aspects, and the crop's place; then the factors of the jitter.
constexpr size_t kDraws = 2 * CropDraws::kAttempts + 2;
constexpr size_t kFactors = 3;

const char* nameOf(data::Trouble trouble) {
  switch (trouble) {
    case data::Trouble::damaged:
      return "damaged";
    case data::Trouble::undecoded:
      return "undecoded";
    case data::Trouble::foreign:
      return "foreign";
    case data::Trouble::unreadable:
      return "unreadable";
  }
  return "";
}

// f64 values of an argument, `count` an image, in [least, most]; none when it is undefined.
std::vector<double> numbers(const Napi::Value& value, const std::string& what, size_t images,
                            size_t count, double least, double most) {
  if (value.IsUndefined()) return {};
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      value.As<Napi::TypedArray>().ElementLength() != images * count) {
    refuse(what + " must be a Float64Array of " + std::to_string(images) + " × " +
           std::to_string(count));
  }
  const auto array = value.As<Napi::Float64Array>();
  std::vector<double> result(array.Data(), array.Data() + array.ElementLength());
  for (const double number : result) {
    if (!(number >= least && number <= most)) {
      refuse(what + " must lie from " + std::to_string(least) + " to " + std::to_string(most));
    }
  }
  return result;
}

CropDraws cropDraws(const double* draws) {
  CropDraws result{};
  for (int attempt = 0; attempt < CropDraws::kAttempts; ++attempt) {
    result.area[attempt] = draws[attempt];
    result.aspect[attempt] = draws[CropDraws::kAttempts + attempt];
  }
  result.right = std::min(draws[kDraws - 2], std::nextafter(1.0, 0.0));
  result.down = std::min(draws[kDraws - 1], std::nextafter(1.0, 0.0));
  return result;
}

// { size, shortSide, crops?, jitters? }
Treatment treatmentOf(const Napi::Object& object, size_t images) {
  Treatment result;
  result.size = static_cast<int>(integerArgument(object.Get("size"), "size", 1, kMostSide));
  result.shortSide = static_cast<int>(
      integerArgument(object.Get("shortSide"), "shortSide", result.size, kMostSide));
  const auto draws = numbers(object.Get("crops"), "crops", images, kDraws, 0, 1e6);
  for (size_t i = 0; i < draws.size(); i += kDraws) result.crops.push_back(cropDraws(&draws[i]));
  const auto factors = numbers(object.Get("jitters"), "jitters", images, kFactors, 0, 1e6);
  for (size_t i = 0; i < factors.size(); i += kFactors) {
    result.jitters.push_back({factors[i], factors[i + 1], factors[i + 2]});
  }
  return result;
}

// Holds the bytes for as long as native threads write to or read from them.
std::shared_ptr<HeldArray> holdBytes(Environment& environment, const Napi::Value& value,
                                     const std::string& what, int64_t bytes) {
  auto held = environment.hold(value, what);
  if (held->type != napi_uint8_array || held->bytes != static_cast<size_t>(bytes)) {
    environment.release(held);
    refuse(what + " must be a Uint8Array of " + counted(static_cast<uint64_t>(bytes), "byte"));
  }
  return held;
}

Napi::Value toJavaScript(Napi::Env env, const Outcome& outcome) {
  auto problems = Napi::Array::New(env, outcome.problems.size());
  for (uint32_t i = 0; i < outcome.problems.size(); ++i) {
    const data::Problem& problem = outcome.problems[i];
    auto object = Napi::Object::New(env);
    object.Set("image", static_cast<double>(problem.image));
    object.Set("trouble", nameOf(problem.trouble));
    object.Set("message", problem.message);
    problems.Set(i, object);
  }
  auto result = Napi::Object::New(env);
  result.Set("problems", problems);
  result.Set("readSeconds", outcome.readSeconds);
  result.Set("decodeSeconds", outcome.decodeSeconds);
  return result;
}

class DecoderObject : public Napi::ObjectWrap<DecoderObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Decoder",
                       {InstanceMethod<&DecoderObject::decode>("decode"),
                        InstanceMethod<&DecoderObject::resample>("resample"),
                        InstanceMethod<&DecoderObject::dispose>("dispose")});
  }

  // new Decoder({ threads })
  explicit DecoderObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DecoderObject>(info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsObject()) refuse("a decoder is made with { threads }");
      const auto threads =
          integerArgument(info[0].As<Napi::Object>().Get("threads"), "threads", 1, 1024);
      decoders_ = std::make_shared<Decoders>(static_cast<int>(threads));
      for (const auto& worker : decoders_->workers()) {
        environmentOf(info.Env()).adopt(worker, [decoders = decoders_] { decoders->abort(); });
      }
    });
  }

  // Work that is queued is still done.
  ~DecoderObject() override { stop(); }

 private:
  void stop() {
    if (!decoders_) return;
    for (const auto& worker : decoders_->workers()) worker->stop();
    decoders_.reset();
  }

  Decoders& live() const {
    if (!decoders_) throw Error("ERR_DISPOSED", "onehour", "the decoder was disposed");
    return *decoders_;
  }

  // A promise of the outcome, and what a native thread calls with it.
  static std::pair<Napi::Value, Decoders::Done> pendingOutcome(
      Napi::Env env, std::vector<std::shared_ptr<HeldArray>> held) {
    auto outcome = std::make_shared<Outcome>();
    const Pending pending(env, [outcome, held = std::move(held)](Napi::Env own) -> Napi::Value {
      for (const auto& array : held) environmentOf(own).release(array);
      return toJavaScript(own, *outcome);
    });
    return {pending.deferred.Promise(), [outcome, done = pending.done()](Outcome result) {
              *outcome = std::move(result);
              done(nullptr);
            }};
  }

  // decode({ files, offsets?, lengths?, target, size, shortSide, crops?, jitters? })
  Napi::Value decode(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (!info[0].IsObject() || !info[0].As<Napi::Object>().Get("files").IsArray()) {
        refuse("decode() expects { files, target, size, shortSide }");
      }
      const auto request = info[0].As<Napi::Object>();
      const auto files = request.Get("files").As<Napi::Array>();
      const size_t count = files.Length();
      const auto offsets = numbers(request.Get("offsets"), "offsets", count, 1, 0, 1e15);
      const auto lengths = numbers(request.Get("lengths"), "lengths", count, 1, 0, 1e15);
      std::vector<data::Source> sources(count);
      for (size_t i = 0; i < count; ++i) {
        sources[i].path = stringArgument(files.Get(static_cast<uint32_t>(i)), "a file's path");
        if (!offsets.empty()) sources[i].offset = static_cast<int64_t>(offsets[i]);
        if (!lengths.empty()) sources[i].bytes = static_cast<int64_t>(lengths[i]);
      }
      Treatment treatment = treatmentOf(request, count);
      Decoders& decoders = live();
      auto held =
          holdBytes(environmentOf(info.Env()), request.Get("target"), "target",
                    static_cast<int64_t>(count) * treatment.size * treatment.size * kColors);
      uint8_t* target = held->data;
      auto [promise, done] = pendingOutcome(info.Env(), {std::move(held)});
      decoders.decode(std::move(sources), std::move(treatment), target, std::move(done));
      return promise;
    });
  }

  // resample({ pixels, width, height, target, size, shortSide, crops?, jitters? })
  Napi::Value resample(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      if (!info[0].IsObject()) refuse("resample() expects { pixels, width, height, target, size }");
      const auto request = info[0].As<Napi::Object>();
      Environment& environment = environmentOf(info.Env());
      const auto width = integerArgument(request.Get("width"), "width", 1, data::kMostSide);
      const auto height = integerArgument(request.Get("height"), "height", 1, data::kMostSide);
      Treatment treatment = treatmentOf(request, 1);
      Decoders& decoders = live();
      auto pixels =
          holdBytes(environment, request.Get("pixels"), "pixels", width * height * kColors);
      std::shared_ptr<HeldArray> target;
      try {
        target = holdBytes(environment, request.Get("target"), "target",
                           int64_t{treatment.size} * treatment.size * kColors);
      } catch (...) {
        environment.release(pixels);
        throw;
      }
      const data::Pixels image{pixels->data, static_cast<int>(width), static_cast<int>(height)};
      uint8_t* place = target->data;
      auto [promise, done] = pendingOutcome(info.Env(), {std::move(pixels), std::move(target)});
      decoders.resample(image, std::move(treatment), place, std::move(done));
      return promise;
    });
  }

  // Its threads end when what is queued is done.
  void dispose(const Napi::CallbackInfo&) { stop(); }

  std::shared_ptr<Decoders> decoders_;
};

// Makes this module count in the counters of another one.
void shareProgress(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (!info[0].IsExternal()) refuse("shareProgress() expects another module's counters");
    progress::shared.store(info[0].As<Napi::External<progress::Counters>>().Data());
  });
}

void advance(const Napi::CallbackInfo&) { progress::advance(); }

void shutDown(const Napi::CallbackInfo& info) { environmentOf(info.Env()).shutDown(); }

Napi::Value versions(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return toObject(info.Env(), {{"libjpeg-turbo", data::builtJpegVersion(), ""}});
  });
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment(env);
  env.SetInstanceData(environment);
  napi_add_env_cleanup_hook(
      env, [](void* own) { static_cast<Environment*>(own)->shutDown(); }, environment);
  exports.Set("Decoder", DecoderObject::define(env));
  auto limits = Napi::Object::New(env);
  limits.Set("bytes", static_cast<double>(data::kMostBytes));
  limits.Set("pixels", static_cast<double>(data::kMostPixels));
  limits.Set("side", static_cast<double>(data::kMostSide));
  exports.Set("limits", limits);
  exports.Set("libraryVersions", Napi::Function::New<versions>(env));
  exports.Set("advanceProgress", Napi::Function::New<advance>(env));
  exports.Set("shareProgress", Napi::Function::New<shareProgress>(env));
  exports.Set("shutDown", Napi::Function::New<shutDown>(env));
  return exports;
}

NODE_API_MODULE(onehour_data, initialize)

}  // namespace
}  // namespace onehour::addon
