// The tests of cpu-test.cc.
#pragma once

namespace onehour::cpu::test {

void streams();               // backend.cc
void normalizations();        // batch-norm.cc
void mergedStatistics();      // batch-norm.cc
void convolutions();          // conv.cc
void elementwise();           // elementwise.cc
void normalizedInput();       // elementwise.cc
void linear();                // linear.cc
void crossEntropy();          // loss.cc
void poolings();              // pool.cc
void optimizer();             // sgd.cc
void winogradConvolutions();  // winograd.cc

}  // namespace onehour::cpu::test
